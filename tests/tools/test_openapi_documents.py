"""Descriptions of services as tools: names, schemas, requests, and descriptions that are hostile."""

from typing import Any

import orjson
import pytest

from cmw_agent import StartupError
from cmw_agent.tools.openapi.documents import ApiDocument
from cmw_agent.tools.openapi.operations import MAX_SCHEMA, ApiOperation, operations_of
from cmw_agent.tools.openapi.requests import WrongArgumentError, request_of


def document(paths: dict[str, Any], **more: Any) -> ApiDocument:
    return ApiDocument(orjson.dumps({"openapi": "3.0.3", "paths": paths} | more), "the shop")


def operations(paths: dict[str, Any], **more: Any) -> list[ApiOperation]:
    return list(operations_of(document(paths, **more), "shop", lambda _: True))


def one(path: str, method: str = "get", **operation: Any) -> ApiOperation:
    (found,) = operations({path: {method: operation}})
    return found


def arguments_of(operation: ApiOperation) -> dict[str, Any]:
    parameters: dict[str, Any] = operation.schema["function"]["parameters"]
    return parameters


def parameter(name: str, place: str = "query", **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": {"type": "string"}} | more


async def test_reading_methods_read_and_all_others_change() -> None:
    methods = ("get", "head", "options", "post", "put", "patch", "delete")
    found = operations({"/x": {name: {"operationId": name} for name in methods}})
    reading = {each.method for each in found if not each.changes}
    assert reading == {"GET", "HEAD", "OPTIONS"}
    assert len(found) == len(methods)


async def test_parameters_of_all_places_and_the_body_are_one_schema() -> None:
    operation = one(
        "/orders/{id}",
        "put",
        operationId="change order",
        summary="Change an order.",
        parameters=[
            parameter("id", "path"),
            parameter("id", "query", required=True, description="Another id"),
            parameter("X-Trace", "header"),
            parameter("session", "cookie"),
            parameter("Authorization", "header"),
        ],
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
    )
    assert operation.name == "shop_change_order"
    assert operation.schema["function"]["description"] == "Change an order."
    found = arguments_of(operation)
    assert list(found["properties"]) == ["id", "query_id", "X-Trace", "body"]
    assert found["required"] == ["id", "query_id", "body"]
    assert found["properties"]["query_id"]["description"] == "Another id"
    request = request_of(
        operation, {"id": "a/b c", "query_id": "7&x=1", "X-Trace": "t", "body": {"n": 1}, "no": 1}
    )
    assert (request.method, request.target) == ("PUT", "/orders/a%2Fb%20c?id=7%26x%3D1")
    assert request.headers == {"X-Trace": "t", "Content-Type": "application/json"}
    assert request.body == b'{"n":1}'


async def test_an_operation_s_parameters_replace_those_of_its_path() -> None:
    (operation,) = operations(
        {
            "/x": {
                "parameters": [{"$ref": "#/components/parameters/Page"}],
                "get": {"parameters": [parameter("page", schema={"type": "integer"})]},
            }
        },
        components={"parameters": {"Page": parameter("page")}},
    )
    assert arguments_of(operation)["properties"] == {"page": {"type": "integer"}}


@pytest.mark.parametrize(
    ("given", "value", "query"),
    [
        ({}, ["a", "b"], "p=a&p=b"),
        ({"explode": False}, ["a", "b"], "p=a%2Cb"),
        ({"style": "pipeDelimited", "explode": False}, ["a", "b"], "p=a%7Cb"),
        ({"style": "deepObject"}, {"k": 1}, "p%5Bk%5D=1"),
        ({}, {"k": True}, "k=true"),
        ({"content": {"application/json": {"schema": {}}}}, {"k": None}, "p=%7B%22k%22%3Anull%7D"),
        ({}, False, "p=false"),
    ],
)
async def test_lists_and_objects_stand_in_the_query_as_described(
    given: dict[str, Any], value: object, query: str
) -> None:
    operation = one("/x", parameters=[parameter("p", **given)])
    assert request_of(operation, {"p": value}).target == f"/x?{query}"


@pytest.mark.parametrize(
    ("kind", "value", "body"),
    [
        ("application/x-www-form-urlencoded", {"a": "b c", "n": 1}, b"a=b+c&n=1"),
        ("text/plain", "words", b"words"),
        ("application/merge-patch+json", {"a": None}, b'{"a":null}'),
    ],
)
async def test_bodies_are_written_as_their_media_type(
    kind: str, value: object, body: bytes
) -> None:
    operation = one("/x", "post", requestBody={"content": {kind: {"schema": {}}}})
    request = request_of(operation, {"body": value})
    assert (request.body, request.headers["Content-Type"]) == (body, kind)


@pytest.mark.parametrize("value", ["..", ".", "", None, "...", []])
async def test_a_path_s_parameter_leads_to_no_other_path(value: object) -> None:
    operation = one("/users/{id}/orders", parameters=[parameter("id", "path")])
    with pytest.raises(WrongArgumentError):
        request_of(operation, {"id": value})


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\nb", "é", "\0"])
async def test_a_header_s_parameter_makes_no_other_header(value: str) -> None:
    operation = one("/x", parameters=[parameter("X-Name", "header")])
    with pytest.raises(WrongArgumentError):
        request_of(operation, {"X-Name": value})


async def test_names_are_unique_and_such_as_functions_may_have() -> None:
    long = "x" * 100
    found = operations(
        {
            "/a": {"get": {"operationId": "a b"}, "post": {"operationId": "a/b"}},
            "/b": {"get": {"operationId": "a b"}},
            "/c": {"get": {"operationId": long + "1"}, "put": {"operationId": long + "2"}},
            "/d/{id}": {"get": {"parameters": [parameter("id", "path")]}},
        }
    )
    names = [operation.name for operation in found]
    assert len(set(names)) == len(names) == 6
    assert all(len(name) <= 64 and name.replace("_", "").isalnum() for name in names)
    assert names[-1] == "shop_GET_d_id"


async def test_references_are_resolved_and_what_refers_to_itself_ends() -> None:
    tree = {
        "type": "object",
        "properties": {
            "name": {"$ref": "#/components/schemas/Name"},
            "children": {"type": "array", "items": {"$ref": "#/components/schemas/Tree"}},
            "example": {"type": "integer", "example": 3},
        },
    }
    schemas = {
        "Tree": tree,
        "Name": {"type": "string"},
        "Loop": {"$ref": "#/components/schemas/Loop"},
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}
    (operation,) = operations(
        {
            "/x": {
                "post": {
                    "requestBody": {"content": content},
                    "parameters": [
                        parameter("loop", schema={"$ref": "#/components/schemas/Loop"}),
                        parameter("file", schema={"$ref": "file:///etc/passwd"}),
                        parameter("web", schema={"$ref": "http://169.254.169.254/latest"}),
                    ],
                }
            }
        },
        components={"schemas": schemas},
    )
    properties = arguments_of(operation)["properties"]
    assert properties["loop"] == properties["file"] == properties["web"] == {}
    assert properties["body"]["properties"]["name"] == {"type": "string"}
    assert properties["body"]["properties"]["children"] == {"type": "array", "items": {}}
    assert properties["body"]["properties"]["example"] == {"type": "integer"}


async def test_a_schema_that_doubles_at_each_level_stays_small() -> None:
    schemas: dict[str, Any] = {
        f"S{level}": {
            "type": "object",
            "properties": {
                side: {"$ref": f"#/components/schemas/S{level + 1}"} for side in "abcdefgh"
            },
        }
        for level in range(40)
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}
    paths = {"/x": {"post": {"requestBody": {"content": content}}}}
    (operation,) = operations(paths, components={"schemas": schemas})
    assert len(orjson.dumps(operation.schema)) <= MAX_SCHEMA + 2_000


async def test_a_schema_that_is_none_is_sent_to_no_model() -> None:
    wrong = {
        "type": "text",
        "properties": [],
        "required": "all",
        "enum": "x",
        "minimum": 1,
        "exclusiveMinimum": True,
    }
    operation = one("/x", parameters=[parameter("p", schema=wrong), parameter("q", schema=[1])])
    assert arguments_of(operation)["properties"] == {"p": {"exclusiveMinimum": 1}, "q": {}}


@pytest.mark.parametrize(
    "operation",
    [
        {"requestBody": {"required": True, "content": {"multipart/form-data": {}}}},
        {"parameters": [parameter("other", "path")]},
        {"parameters": "none"},
    ],
)
async def test_operations_that_a_model_cannot_call_are_left_out(operation: Any) -> None:
    assert operations({"/x/{id}": {"post": operation}, "no path": {"get": {}}}) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no OpenAPI document"),
        (b"{", "JSON or YAML"),
        (b"[]", "no OpenAPI document"),
        (b'{"swagger": "2.0", "paths": {}}', "Swagger 2"),
        (b'{"openapi": "3.1.0"}', "no paths"),
        (b'{"openapi": 3, "paths": {"/": {}}}', "no OpenAPI document"),
        (b"\xff\xfe\x00", "JSON or YAML"),
        (b"a: &a [*a, *a]\n: :", "JSON or YAML"),
        (b"!!python/object/apply:os.system ['true']", "JSON or YAML"),
        (b"[" * 100_000, "JSON or YAML"),
    ],
)
async def test_a_broken_description_is_one_line(content: bytes, problem: str) -> None:
    with pytest.raises(StartupError, match=problem) as raised:
        ApiDocument(content, "the shop")
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("the shop: ")


async def test_a_description_may_be_yaml_whose_anchors_are_bounded() -> None:
    lines = ["openapi: 3.1.0", "paths: {/x: {get: {operationId: look}}}", "a0: &a0 {type: string}"]
    lines += [f"a{n}: &a{n} {{properties: {{l: *a{n - 1}, r: *a{n - 1}}}}}" for n in range(1, 40)]
    text = "\n".join(lines).replace("{operationId: look}", "{operationId: look, parameters: []}")
    found = ApiDocument(text.encode(), "the shop")
    assert [each.name for each in operations_of(found, "shop", lambda _: True)] == ["shop_look"]
