"""The files in `deploy/`: valid for their programs, and consistent with the app."""

import io
import ipaddress
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import sqlalchemy
import yaml
from dotenv import dotenv_values

from benchmarks.growth import Figures
from cmw_agent.cli.serve import KEEP_ALIVE_SECONDS
from cmw_agent.config.settings import Settings, load_settings, variable
from cmw_agent.limits.budget_sizes import budgets_of
from cmw_agent.web.gradio_transport.event_server import HEARTBEAT_SECONDS
from memory.engine import postgres as postgres_engine
from tests import nginx
from tests.databases import postgres, postgres_programs
from tests.unit.test_house import locked, project

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TEXTS = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc")
NAMED = re.compile(r"\b(?:CMW|OPENAI|OAUTH|OPENID|COMPOSIO|OTEL)_[A-Z_]*[A-Z]\b")
SECRET_NAMES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")
SHARED = ("CMW_SECRET_KEY", "CMW_DATABASE_URL", "CMW_REDIS_URL", "CMW_DATA_DIR")
ENDINGS = 10.0  # seconds that streams, connections and the database need after the turns
KUBERNETES = kubernetes_validate.latest_version()


def read(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def defaults() -> Settings:
    return Settings(_env_file=None)


def test_every_variable_that_is_named_is_a_setting() -> None:
    known = {variable(field) for field in Settings.model_fields}
    found: set[str] = set()
    for path in TEXTS:
        names = set(NAMED.findall(path.read_text(encoding="utf-8")))
        assert names <= known, f"{path.relative_to(ROOT)}: {sorted(names - known)}"
        found |= names
    assert set(SHARED) <= found


def test_the_data_stays_out_of_the_image() -> None:
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert let_in.isdisjoint({".env", "data", "tests", ".git", ".venv", "deploy"})
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", read("Dockerfile"), re.MULTILINE)
    assert {name for line in copied for name in line.split()} == let_in
    assert all((ROOT / name).exists() for name in let_in)


# -- the image ------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments of the Dockerfile, lines joined, comments left out."""
    lines = [line for line in read("Dockerfile").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in found]


def last(word: str) -> str:
    return [rest for found, rest in instructions() if found == word][-1]


def test_hadolint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, DEPLOY / "Dockerfile"], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_app_runs_as_nobody_in_particular() -> None:
    user, _, group = last("USER").partition(":")
    assert int(user) > 0  # a number: Kubernetes cannot tell from a name that it is not root
    assert int(group) > 0
    assert [word for word, _ in instructions()].index("USER") < [
        word for word, _ in instructions()
    ].index("CMD")


def test_the_signal_reaches_python() -> None:
    assert json.loads(last("CMD")) == ["python", "app.py"]
    assert last("STOPSIGNAL") == "SIGTERM"
    assert "ENTRYPOINT" not in {word for word, _ in instructions()}


def test_the_image_tells_its_health_without_curl() -> None:
    check = last("HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    assert words[:2] == ["python", "-c"]
    compile(words[2], "healthcheck", "exec")
    assert "/healthz" in words[2]
    assert "curl" not in read("Dockerfile")


def test_the_image_holds_no_secret_and_what_production_needs() -> None:
    for word, rest in instructions():
        if word in ("ENV", "ARG"):
            names = re.findall(r"(\w+)=", rest) or [rest]
            assert not [name for name in names if SECRET_NAMES.search(name)], rest
    set_here = dict(re.findall(r"(CMW_\w+)=(\S+)", last("ENV")))
    assert set_here["CMW_HOST"] == "0.0.0.0"
    assert set_here["CMW_DATA_DIR"] == last("VOLUME")
    assert set_here["CMW_PORT"] == last("EXPOSE") == str(defaults().port)
    extras = project()["optional-dependencies"]
    (install,) = [rest for word, rest in instructions() if word == "RUN" and " install " in rest
                  and "pip" in rest]  # fmt: skip
    assert "--require-hashes -r requirements.txt" in install
    assert "deploy/requirements.txt ./" in [rest for word, rest in instructions() if word == "COPY"]
    for text in extras["postgres"] + extras["redis"]:
        assert text.partition("==")[0] in locked("deploy/requirements.txt")


BY_DIGEST = re.compile(r"[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}")


def test_images_of_others_are_named_by_their_digest() -> None:
    bases = [rest.partition(" AS ")[0] for word, rest in instructions() if word == "FROM"]
    assert len(set(bases)) == 1  # what is built on is what is run on
    services = compose()["services"].values()
    others = [service["image"] for service in services if "build" not in service]
    for image in [*bases, *others]:
        assert BY_DIGEST.fullmatch(image), image


def test_docker_takes_the_example_s_values_as_the_app_does() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    lines = re.findall(r"^#(\w+=.+)$", text, re.MULTILINE)
    assert [line for line in lines if " " in line]
    # `docker run --env-file` takes all behind the first = as it stands
    taken = dict(line.split("=", 1) for line in lines)
    assert taken == dotenv_values(stream=io.StringIO("\n".join(lines)))


# -- compose --------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(read("compose.yaml"))
    return content


def replicas() -> dict[str, dict[str, Any]]:
    return {name: s for name, s in compose()["services"].items() if name.startswith("app")}


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def test_replicas_differ_in_their_address_alone() -> None:
    found = replicas()
    assert len(found) == 2
    stripped = []
    for service in found.values():
        shared = {**service, "networks": sorted(service["networks"])}
        stripped.append(json.dumps(shared, sort_keys=True))
        assert set(SHARED) <= set(service["environment"])
    assert stripped[0] == stripped[1]


def test_nginx_alone_is_reached_from_outside() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert name == "nginx" or port.startswith("127.0.0.1:"), name
    assert services["nginx"]["ports"]
    assert compose()["networks"]["inside"]["internal"] is True
    for name in ("postgres", "redis"):
        assert services[name]["networks"] == ["inside"]
    # A name in two networks has two addresses, and nginx would take them for two replicas.
    for service in replicas().values():
        assert set(service["networks"]) & set(services["nginx"]["networks"]) == {"inside"}


def test_each_replica_believes_nginx_alone() -> None:
    address = compose()["services"]["nginx"]["networks"]["inside"]["ipv4_address"]
    for service in replicas().values():
        assert service["environment"]["CMW_TRUST_PROXY"] == address


def test_the_bridge_is_there_where_it_is_asked_for_and_knows_no_secret_but_its_own() -> None:
    services = compose()["services"]
    bridge = services["bridge"]
    assert bridge["profiles"] == ["whatsapp"]
    address = services["nginx"]["networks"]["inside"]["ipv4_address"]
    assert bridge["environment"]["BRIDGE_APP_URL"] == f"http://{address}"
    names = {name for name in bridge["environment"] if SECRET_NAMES.search(name)}
    assert names == {"CMW_WHATSAPP_SECRET", "CMW_WHATSAPP_BRIDGE_TOKEN"}
    assert "env_file" not in bridge
    assert (ROOT / "deploy" / bridge["build"]["context"] / "Dockerfile").is_file()


def test_a_replica_has_time_to_drain() -> None:
    for service in replicas().values():
        drain = float(service["environment"]["CMW_DRAIN_SECONDS"])
        assert drain == defaults().drain_seconds
        assert seconds(service["stop_grace_period"]) >= drain + ENDINGS


def test_no_service_takes_the_machine_s_memory_or_processes() -> None:
    for name, service in compose()["services"].items():
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert 0 < service["pids_limit"] <= 512, name
    # as a pod's: two documents that are read at once, and the app itself
    (container,) = pod()["containers"]
    for service in replicas().values():
        assert service["mem_limit"] == container["resources"]["limits"]["memory"][:-1].lower()
        documents_at_once = budgets_of(defaults())["extraction"].total
        needed = documents_at_once * defaults().extraction_megabytes + 768
        assert needed <= 1024 * int(service["mem_limit"][:-1])


def test_the_app_s_role_is_none_that_row_level_security_does_not_hold() -> None:
    services = compose()["services"]
    superuser = services["postgres"]["environment"]["POSTGRES_USER"]
    for service in replicas().values():
        url = sqlalchemy.make_url(
            re.sub(r"\$\{\w+[^}]*\}", "x", service["environment"]["CMW_DATABASE_URL"])
        )
        assert url.username != superuser
        assert f"CREATE DATABASE {url.database} OWNER {url.username};" in read("postgres-init.sh")
    assert any("postgres-init.sh:/docker-entrypoint-initdb.d/" in volume
               for volume in services["postgres"]["volumes"])  # fmt: skip


def test_the_script_makes_an_ordinary_role_with_the_password_that_it_is_given(
    tmp_path: Path,
) -> None:
    """Run for real, with a password that would break out of a quoted text."""
    with postgres() as server:
        url = sqlalchemy.make_url(str(server.get_uri()))
        done = subprocess.run(
            ["sh", DEPLOY / "postgres-init.sh"],
            env={
                "PATH": f"{postgres_programs()}:{os.environ['PATH']}",
                "PGHOST": str(url.query["host"]),
                "POSTGRES_USER": str(url.username),
                "APP_ROLE_PASSWORD": "pa'ss; $x",
            },
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        question = "SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = 'cmw';"
        assert re.search(r"cmw\s*\|\s*f\b", server.psql(question))


def test_who_needs_another_waits_for_its_health() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            by_image = needed.startswith("app") and "HEALTHCHECK" in read("Dockerfile")
            assert by_image or "healthcheck" in services[needed], needed
    assert set(services["nginx"]["depends_on"]) == set(replicas())


def test_no_secret_stands_in_a_file() -> None:
    for name in ("compose.yaml", "kubernetes.yaml", ".env.example", "nginx.conf"):
        for line in read(name).splitlines():
            found = re.match(r"\s*(\w*(?:KEY|SECRET|TOKEN|PASSWORD)\w*)\s*[:=]\s*(\S.*)", line)
            assert found is None or re.match(r"\$\{|\"<", found[2]), f"{name}: {line}"
        for address in re.findall(r"\b(?:postgresql|redis)://[^\s\"]+", read(name)):
            assert re.search(r":(\$\{\w+|<\w+>)", address), address
    given = set(re.findall(r"^(\w+)=(?=.)", read(".env.example"), re.MULTILINE))
    assert given == {"PUBLIC_PORT"}


def test_the_settings_of_a_replica_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = {"POSTGRES_PASSWORD": "p" * 32, "REDIS_PASSWORD": "r" * 32, "CMW_SECRET_KEY": "s" * 32}
    (environment, _) = [service["environment"] for service in replicas().values()]
    for name, value in environment.items():
        monkeypatch.setenv(name, re.sub(r"\$\{(\w+)[^}]*\}", lambda m: filled[m[1]], str(value)))
    settings = load_settings(None)
    assert settings.unknown == ()
    assert settings.database_url.get_secret_value().startswith("postgresql+asyncpg://")
    assert load_settings(DEPLOY / ".env.example").demo


# -- Kubernetes -----------------------------------------------------------------------------


def documents() -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all(read("kubernetes.yaml"))}


KINDS = sorted(documents())


@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_knows_each_document(kind: str) -> None:
    kubernetes_validate.validate(documents()[kind], KUBERNETES, strict=True)


def pod() -> dict[str, Any]:
    content: dict[str, Any] = documents()["Deployment"]["spec"]["template"]["spec"]
    return content


def test_a_pod_has_no_right_that_it_does_not_need() -> None:
    (container,) = pod()["containers"]
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert str(pod()["securityContext"]["runAsUser"]) == last("USER").partition(":")[0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}


def test_a_pod_s_probes_ask_what_they_are_for() -> None:
    (container,) = pod()["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"]
             for name in ("startup", "liveness", "readiness")}  # fmt: skip
    # A database out of reach must not have every pod killed.
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_a_pod_has_time_to_drain_and_none_goes_before_its_successor() -> None:
    settings = documents()["ConfigMap"]["data"]
    pause = float(pod()["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = pause + float(settings["CMW_DRAIN_SECONDS"]) + ENDINGS
    assert pod()["terminationGracePeriodSeconds"] >= needed
    update = documents()["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert update["maxUnavailable"] == 0
    assert documents()["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    assert documents()["PodDisruptionBudget"]["spec"]["minAvailable"] >= 1


def test_a_pod_reaches_no_private_network_but_its_database_s() -> None:
    policy = documents()["NetworkPolicy"]["spec"]
    assert policy["podSelector"] == documents()["Deployment"]["spec"]["selector"]
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    open_to = [to for rule in policy["egress"] for to in rule["to"] if "ipBlock" in to]
    (public,) = [to["ipBlock"] for to in open_to]
    closed = [ipaddress.ip_network(network) for network in public["except"]]
    for address in ("169.254.169.254", "10.1.2.3", "172.20.0.1", "192.168.1.1", "127.0.0.1"):
        assert any(ipaddress.ip_address(address) in network for network in closed), address
    assert all(rule.get("ports") for rule in policy["egress"] + policy["ingress"])


def test_pods_share_what_replicas_must_share() -> None:
    settings = {**documents()["ConfigMap"]["data"], **documents()["Secret"]["stringData"]}
    assert set(SHARED) <= set(settings)
    assert documents()["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    annotations = documents()["Ingress"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/affinity"] == "cookie"
    assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"


def test_the_database_has_connections_for_all_pods_at_once() -> None:
    most = documents()["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]
    surge = documents()["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    pool = postgres_engine._POSTGRES_CONNECTIONS + postgres_engine._POSTGRES_OVERFLOW
    assert Figures().connections == pool
    # PostgreSQL's default, without those that it keeps for its superuser
    assert (most + surge) * pool < 100 - 3


# -- nginx ----------------------------------------------------------------------------------

CONFIGURATION = nginx.CONFIGURATION.read_text(encoding="utf-8")


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(nginx.rendered(80, (7860, 7860)), encoding="utf-8")
    done = subprocess.run(
        [nginx.nginx_program(), "-t", "-q", "-p", ".", "-c", "nginx.conf", "-e", "log"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nginx_knows_each_replica_of_compose_and_no_other() -> None:
    groups = re.findall(r"upstream \w+ \{(.*?)\n  \}", CONFIGURATION, re.DOTALL)
    assert len(groups) == 2
    for group in groups:
        assert re.findall(r"server (\w+):(\d+)", group) == [
            (name, str(defaults().port)) for name in sorted(replicas())
        ]
    assert len(re.findall(r"^\s*listen ", CONFIGURATION, re.MULTILINE)) == 1


def without_comments() -> str:
    return re.sub(r"#.*", "", CONFIGURATION)


def test_nginx_repeats_no_message_and_believes_no_client() -> None:
    text = without_comments()
    assert "non_idempotent" not in text
    assert re.search(r"proxy_next_upstream error timeout;", text)
    assert "$proxy_add_x_forwarded_for" not in text
    assert "X-Forwarded-For $remote_addr;" in text
    assert re.search(r"location = /metrics \{\s*return 404;", text)


def test_nginx_has_the_app_s_sizes_and_times() -> None:
    text = without_comments()
    megabytes = int(re.findall(r"client_max_body_size (\d+)m;", text)[0])
    assert megabytes * 2**20 > defaults().max_file_bytes
    (whatsapp,) = re.findall(r"location /whatsapp/ \{\s*client_max_body_size (\d+)m;", text)
    assert int(whatsapp) * 2**20 > defaults().max_file_bytes * 4 / 3 + defaults().max_body_bytes
    reads = [int(found) for found in re.findall(r"proxy_read_timeout (\d+)s;", text)]
    assert min(reads) > 2 * HEARTBEAT_SECONDS
    assert max(reads) > defaults().turn_timeout
    streams = re.findall(r"location ~ \S*queue/data\S* \{(.*?)\}", text, re.DOTALL)
    assert all("proxy_buffering off;" in stream for stream in streams)
    assert streams
    kept = [int(found) for found in re.findall(r"keepalive_timeout (\d+)s;", text)]
    assert kept
    assert max(kept) < KEEP_ALIVE_SECONDS


CLASS = 50  # people behind one address
REQUESTS = 80  # of one page that is opened, with all its scripts


def test_nginx_bounds_an_address_and_leaves_a_class_of_fifty_in_peace() -> None:
    text = without_comments()
    (connections,) = re.findall(r"limit_conn connections (\d+);", text)
    (rate,) = re.findall(r"limit_req_zone \$network zone=requests:\d+m rate=(\d+)r/s;", text)
    (burst,) = re.findall(r"limit_req zone=requests burst=(\d+) nodelay;", text)
    assert CLASS * 6 < int(connections) < 8192 / 4  # browsers open six to one host at most
    assert int(rate) + int(burst) > CLASS * REQUESTS
    assert set(re.findall(r"limit_\w+_status (\d+);", text)) == {"429"}
    annotations = documents()["Ingress"]["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io/limit-"
    assert annotations[f"{prefix}connections"] == connections
    assert annotations[f"{prefix}rps"] == rate
    assert int(annotations[f"{prefix}burst-multiplier"]) * int(rate) == int(burst)


# -- a Space --------------------------------------------------------------------------------


def front_matter() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(read("space/README.md").split("---\n")[1])
    return content


def test_the_space_is_what_the_lock_says() -> None:
    front = front_matter()
    (gradio,) = locked("requirements.txt")["gradio"]
    assert (front["sdk"], front["sdk_version"], front["app_file"]) == ("gradio", gradio, "app.py")
    assert front["python_version"] in ("3.11", "3.12")
    assert front["hf_oauth"] is True
    assert "ephemeral" in read("space/README.md")


def test_a_dry_run_lists_what_the_space_runs_and_no_secret() -> None:
    done = subprocess.run(
        [sys.executable, DEPLOY / "space/push.py", "owner/name", "--dry-run"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.returncode, done.stderr) == (0, "")
    listed = set(done.stdout.splitlines()[:-1])
    tracked = {
        path.relative_to(ROOT).as_posix()
        for package in ("cmw_agent", "memory")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tracked <= listed
    assert {"app.py", "README.md", "requirements.txt"} <= listed
    assert not [name for name in listed if ".env" in name or name.startswith(("data", "tests"))]
