"""What many servers say of refused requests, and what it means: their kind, and what is left out."""

import json

import pytest

from cmw_agent.llm.adaptation import named
from cmw_agent.llm.error_details import ErrorReader
from cmw_agent.llm.errors import RequestRefusedError

KINDS: tuple[tuple[int, object, str], ...] = (
    (
        429,
        {
            "error": {
                "message": "You exceeded your current quota, please check your plan and billing details.",
                "status": "RESOURCE_EXHAUSTED",
                "code": 429,
            }
        },
        "no_credit",
    ),
    (
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "Resource has been exhausted (e.g. check quota).",
                    "status": "RESOURCE_EXHAUSTED",
                }
            }
        ],
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "message": "Your account org-1 is suspended, please check your plan and billing details",
                "type": "exceeded_current_quota_error",
            }
        },
        "no_credit",
    ),
    (429, {"error": {"message": "余额不足或无可用资源包,请充值。", "code": "1113"}}, "no_credit"),
    (
        403,
        {
            "error": {
                "message": "用户额度不足, 剩余额度: $0.000000",
                "code": "insufficient_user_quota",
                "type": "new_api_error",
            }
        },
        "no_credit",
    ),
    (
        403,
        {
            "error": {
                "message": "预扣费额度失败, 用户剩余额度: ＄0.01, 需要预扣费额度: ＄0.02",
                "code": "pre_consume_token_quota_failed",
            }
        },
        "no_credit",
    ),
    (401, {"error": {"message": "该令牌额度已用尽", "type": "one_api_error"}}, "no_credit"),
    (
        403,
        {
            "error": {
                "message": "Your team has either used all available credits or reached its monthly spending limit.",
                "code": "The caller does not have permission",
            }
        },
        "no_credit",
    ),
    (
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Your newly created teams doesn't have any credits yet. You can purchase those on https://console.x.ai.",
        },
        "no_credit",
    ),
    (
        400,
        {
            "code": "Arrearage",
            "message": "Access denied, please make sure your account is in good standing.",
        },
        "no_credit",
    ),
    (
        402,
        {
            "error": {
                "message": "Insufficient Balance",
                "type": "unknown_error",
                "code": "invalid_request_error",
            }
        },
        "no_credit",
    ),
    (
        402,
        {
            "error": {
                "message": "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 2000."
            }
        },
        "no_credit",
    ),
    (
        429,
        {
            "error": {
                "message": "Rate limit reached for model `llama` on tokens per day (TPD): Limit 100000, Used 99999"
            }
        },
        "rate_limited",
    ),
    (
        429,
        {
            "error": {
                "message": "Key limit exceeded (daily limit). Manage it using https://openrouter.ai/settings/keys",
                "code": 403,
            }
        },
        "no_credit",
    ),
    (
        403,
        {
            "error": {
                "message": "Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys",
                "code": 403,
            }
        },
        "no_credit",
    ),
    (
        403,
        {
            "error": {
                "message": "You have exceeded your monthly included credits for Inference Providers. Subscribe to PRO"
            }
        },
        "no_credit",
    ),
    (
        402,
        {"error": "You have exceeded your monthly included credits for Inference Providers"},
        "no_credit",
    ),
    (
        400,
        {
            "error": {
                "message": "Your credit balance is too low to access the Anthropic API",
                "type": "invalid_request_error",
            }
        },
        "no_credit",
    ),
    (412, {"error": "Account suspended due to billing"}, "no_credit"),
    (
        400,
        {
            "error": {
                "message": "ExceededBudget: User over budget. Spend=10, Budget=5",
                "type": "budget_exceeded",
            }
        },
        "no_credit",
    ),
    (
        429,
        {
            "error": {
                "message": "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0",
                "type": "budget_exceeded",
            }
        },
        "no_credit",
    ),
    (
        400,
        {
            "error": {
                "message": "Budget has been exceeded! Current cost: 10.1, Max budget: 10.0",
                "type": "budget_exceeded",
                "code": "400",
            }
        },
        "no_credit",
    ),
    (402, "", "no_credit"),
    (429, {"message": "Requests rate limit exceeded", "request_id": "x"}, "rate_limited"),
    (
        429,
        {
            "error": {
                "message": "Engine is currently overloaded, please try again later",
                "type": "engine_overloaded_error",
            }
        },
        "rate_limited",
    ),
    (
        403,
        {
            "error": {
                "message": "You have reached the free tier limit. Please use free tier only mode off",
                "code": "AllocationQuota.FreeTierOnly",
            }
        },
        "no_credit",
    ),
    (
        429,
        {
            "error": {
                "message": "Free allocated quota exceeded.",
                "code": "Throttling.AllocationQuota",
            }
        },
        "rate_limited",
    ),
    (400, {"error": {"message": "Prompt exceeds max length", "code": "1261"}}, "too_long"),
    (
        400,
        {
            "error": {
                "message": "length of prompt_tokens (163280) must be less than max_seq_len (32768)."
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "Range of input length should be [1, 30720]",
                "code": "invalid_parameter_error",
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)"
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                "status": "INVALID_ARGUMENT",
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens"
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
                "type": "invalid_request_prompt",
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "object": "error",
            "message": "Requested token count exceeds the model's maximum context length of 4096 tokens.",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "too_long",
    ),
    (
        400,
        {
            "error": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens"
            }
        },
        "too_long",
    ),
    (400, {"error": {"message": "Input is too long for requested model."}}, "too_long"),
    (
        400,
        {
            "error": {
                "message": "prompt token count of 140000 exceeds the limit of 128000",
                "code": "model_max_prompt_tokens_exceeded",
            }
        },
        "too_long",
    ),
    (
        413,
        {
            "error": {
                "message": "Request too large for model `x` in organization on tokens per minute (TPM): Limit 6000, Requested 9000",
                "code": "rate_limit_exceeded",
                "type": "tokens",
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "This model's maximum prompt length is 131072 but the request contains 200000 tokens."
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "Please reduce the length of the messages or completion.",
                "code": "context_length_exceeded",
                "param": "messages",
            }
        },
        "too_long",
    ),
    (422, {"detail": "Input exceeds maximum context"}, "too_long"),
    (400, {"error": {"message": "too many total text bytes: 10485760"}}, "too_long"),
    (
        500,
        {
            "error": {
                "message": "the request exceeds the available context size. try increasing the context size or enable context shift",
                "code": 500,
            }
        },
        "too_long",
    ),
    (
        400,
        {"message": "total tokens (prompt 9000 + max 1000) exceeds context limit 8192"},
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."
            }
        },
        "too_long",
    ),
    (
        400,
        {
            "errors": [
                {
                    "message": "AiError: The estimated number of input and maximum output tokens (9000) exceeded this model context window limit (7968).",
                    "code": 5021,
                }
            ],
            "success": False,
        },
        "too_long",
    ),
    (
        400,
        {
            "error": {
                "message": "Output data may contain inappropriate content.",
                "code": "data_inspection_failed",
            }
        },
        "moderated",
    ),
    (
        400,
        {
            "error": {
                "message": "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语",
                "code": "1301",
            }
        },
        "moderated",
    ),
    (
        400,
        {
            "error": {
                "message": "The request was rejected because it was considered high risk",
                "type": "content_filter",
            }
        },
        "moderated",
    ),
    (
        400,
        {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}},
        "moderated",
    ),
    (403, {"error": {"message": "Content violates usage guidelines."}}, "moderated"),
    (
        403,
        {
            "error": {
                "message": "google/x requires moderation on Vendor. Your input was flagged",
                "code": 403,
                "metadata": {"reasons": ["violence"], "flagged_input": "x"},
            }
        },
        "moderated",
    ),
    (
        400,
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
                "code": "content_filter",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        "moderated",
    ),
    (422, {"error": {"code": "UNSAFE", "message": "Input contains NSFW content"}}, "moderated"),
    (400, {"error": {"message": "input new_sensitive (1026)"}}, "moderated"),
    (
        404,
        {
            "error": {
                "message": "No endpoints found matching your data policy (Free model publication)."
            }
        },
        "no_such_model",
    ),
    (401, {"detail": "Invalid API key"}, "unauthorised"),
    (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid. Please pass a valid API key.",
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        "unauthorised",
    ),
    (401, {"error": {"message": "无效的令牌", "type": "new_api_error"}}, "unauthorised"),
    (403, {"message": "Forbidden"}, "unauthorised"),
    (
        403,
        {"error": {"message": "Access denied due to Virtual Network/Firewall rules."}},
        "unauthorised",
    ),
    (
        400,
        {
            "error": {
                "message": "User location is not supported for the API use.",
                "status": "FAILED_PRECONDITION",
            }
        },
        "rejected",
    ),
    (
        403,
        {
            "error": {
                "message": "Country, region, or territory not supported",
                "code": "unsupported_country_region_territory",
                "type": "request_forbidden",
            }
        },
        "unauthorised",
    ),
    (
        401,
        {
            "error": {
                "message": "Incorrect API key provided: sk-abc***def. You can find your API key at",
                "code": "invalid_api_key",
            }
        },
        "unauthorised",
    ),
    (400, {"error": {"message": "m is not a valid model ID"}}, "no_such_model"),
    (
        404,
        {"error": {"message": 'model "m" not found, try pulling it first', "type": "api_error"}},
        "no_such_model",
    ),
    (
        503,
        {
            "error": {
                "message": "当前分组 default 下对于模型 m 无可用渠道",
                "code": "model_not_found",
                "type": "new_api_error",
            }
        },
        "no_such_model",
    ),
    (
        400,
        {"error": {"message": "Model Not Exist", "type": "invalid_request_error"}},
        "no_such_model",
    ),
    (
        400,
        {
            "error": {
                "message": "Invalid model name passed in model=m. Call `/v1/models` to view available models"
            }
        },
        "no_such_model",
    ),
    (
        404,
        {
            "object": "error",
            "message": "The model `m` does not exist.",
            "type": "NotFoundError",
            "code": 404,
        },
        "no_such_model",
    ),
    (
        400,
        {
            "error": "No models loaded. Please load a model in the developer page or use the `lms load` command."
        },
        "no_such_model",
    ),
    (
        404,
        {
            "error": {
                "message": "The API deployment for this resource does not exist.",
                "code": "DeploymentNotFound",
            }
        },
        "no_such_model",
    ),
    (400, {"error": {"message": "模型不存在，请检查模型代码。", "code": "1211"}}, "no_such_model"),
    (
        400,
        {
            "error": {
                "message": "The requested model 'm' is not supported.",
                "code": "model_not_supported",
                "param": "model",
            }
        },
        "no_such_model",
    ),
    (404, {"error": {"message": "Resource not found", "code": "404"}}, "wrong_address"),
    (
        404,
        {
            "error": {
                "message": "models/m is not found for API version v1main, or is not supported for generateContent.",
                "code": 404,
                "status": "NOT_FOUND",
            }
        },
        "no_such_model",
    ),
    (400, {"error": "Model m is not supported by provider hf-inference"}, "no_such_model"),
    (
        404,
        {
            "error": {
                "message": "Unable to access non-serverless model m. Please visit to create a dedicated endpoint",
                "code": "model_not_available",
            }
        },
        "no_such_model",
    ),
    (404, {"error": {"message": "Invalid URL (POST /v1/v1/chat/completions)"}}, "wrong_address"),
    (404, "404 page not found", "wrong_address"),
    (404, "", "wrong_address"),
)
PARTS: tuple[tuple[int, object, str | None], ...] = (
    (
        400,
        {
            "error": {
                "message": "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
            }
        },
        "temperature",
    ),
    (
        400,
        {
            "error": {
                "message": "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
                "param": "temperature",
                "code": "unsupported_value",
            }
        },
        "temperature",
    ),
    (
        400,
        {
            "error": {
                "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "param": "max_tokens",
                "code": "unsupported_parameter",
            }
        },
        "max_tokens",
    ),
    (
        500,
        {
            "error": {
                "message": "litellm.UnsupportedParamsError: fireworks_ai does not support parameters: ['parallel_tool_calls'], for model=m",
                "code": "500",
            }
        },
        "parallel_tool_calls",
    ),
    (
        400,
        {
            "error": {
                "message": "litellm.UnsupportedParamsError: bedrock does not support parameters: {'parallel_tool_calls': True}"
            }
        },
        "parallel_tool_calls",
    ),
    (
        400,
        {
            "error": {
                "message": "Conversation roles must alternate user/assistant/user/assistant/..."
            }
        },
        "messages of one role in a row",
    ),
    (
        500,
        {
            "error": {
                "message": "Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/...",
                "code": 500,
            }
        },
        "messages of one role in a row",
    ),
    (
        400,
        {
            "error": {
                "message": "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."
            }
        },
        "messages of one role in a row",
    ),
    (400, {"error": {"message": "Last message must have role `user`"}}, None),
    (
        400,
        {"error": {"message": "invalid params, duplicate user messages (2013)"}},
        "messages of one role in a row",
    ),
    (
        400,
        {
            "error": {
                "message": 'messages: roles must alternate between "user" and "assistant", but found multiple "user" roles in a row'
            }
        },
        "messages of one role in a row",
    ),
    (
        400,
        {
            "error": {
                "message": "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
            }
        },
        None,
    ),
    (
        400,
        {
            "error": {
                "message": "This model does not support the 'system' role",
                "param": "messages",
            }
        },
        "the system role",
    ),
    (
        400,
        {
            "error": {
                "message": "Developer instruction is not enabled for models/gemma-3-27b-it",
                "status": "INVALID_ARGUMENT",
            }
        },
        "the system role",
    ),
    (
        400,
        {
            "error": {
                "message": "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
                "param": "messages[0].role",
                "code": "unsupported_value",
            }
        },
        "the system role",
    ),
    (
        500,
        {"error": {"message": "Value is not callable: null at row 1: System role not supported"}},
        "the system role",
    ),
    (400, {"error": {"message": "invalid message role: system"}}, "the system role"),
    (400, {"error": "Only user, assistant and tool roles are supported"}, "the system role"),
    (
        400,
        {"error": {"message": 'Unknown name "safety_identifier": Cannot find field.'}},
        "safety_identifier",
    ),
    (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": 'Invalid JSON payload received. Unknown name "safety_identifier": Cannot find field.',
                    "status": "INVALID_ARGUMENT",
                    "details": [
                        {
                            "@type": "type.googleapis.com/google.rpc.BadRequest",
                            "fieldViolations": [{"description": "x"}],
                        }
                    ],
                }
            }
        ],
        "safety_identifier",
    ),
    (
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "safety_identifier"],
                    "msg": "Extra inputs are not permitted",
                    "input": "u",
                }
            ]
        },
        "safety_identifier",
    ),
    (
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "stream_options"],
                    "msg": "Extra inputs are not permitted",
                    "input": {},
                }
            ]
        },
        "stream_options",
    ),
    (
        400,
        {
            "error": {
                "message": "property 'safety_identifier' is unsupported",
                "type": "invalid_request_error",
            }
        },
        "safety_identifier",
    ),
    (
        400,
        {
            "message": "body.safety_identifier: property 'body.safety_identifier' is unsupported",
            "type": "invalid_request_error",
            "param": "validation_error",
            "code": "wrong_api_format",
        },
        "safety_identifier",
    ),
    (
        400,
        {"error": {"message": "reasoning_effort is not supported by this model"}},
        "reasoning_effort",
    ),
    (
        400,
        {"error": {"message": "Model m does not support parameter reasoningEffort."}},
        "reasoning_effort",
    ),
    (
        400,
        {"error": {"message": 'think value "low" is not supported for this model'}},
        "reasoning_effort",
    ),
    (
        400,
        {"error": {"message": '"m" does not support thinking', "type": "api_error"}},
        "reasoning_effort",
    ),
    (
        400,
        {
            "error": {
                "message": "Thinking level is not supported for this model.",
                "status": "INVALID_ARGUMENT",
            }
        },
        "reasoning_effort",
    ),
    (
        400,
        {
            "error": {
                "message": "Function tools with reasoning_effort are not supported for gpt-5 in /v1/chat/completions. Please use /v1/responses instead.",
                "param": "reasoning_effort",
            }
        },
        "reasoning_effort",
    ),
    (400, {"error": {"message": "`tool calling` is not supported with this model"}}, "tools"),
    (
        400,
        {"error": {"message": "This model doesn't support tool use in streaming mode."}},
        "tools",
    ),
    (
        400,
        {
            "error": {
                "message": "tools is not supported in this model. For a list of supported models refer to the docs"
            }
        },
        "tools",
    ),
    (
        404,
        {
            "error": {
                "message": "No endpoints found that support tool use. To learn more about provider routing, visit: https://openrouter.ai/docs"
            }
        },
        "tools",
    ),
    (400, {"error": "registry.ollama.ai/library/m does not support tools"}, "tools"),
    (
        500,
        {
            "error": {
                "message": "tools param requires --jinja flag",
                "code": 500,
                "type": "server_error",
            }
        },
        "tools",
    ),
    (
        400,
        {
            "error": {
                "message": "Function calling is not supported for this model",
                "status": "INVALID_ARGUMENT",
            }
        },
        "tools",
    ),
    (
        400,
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "type": "BadRequestError",
        },
        "tools",
    ),
    (
        422,
        {
            "error": "Tool error: Templating error / tools are not supported",
            "error_type": "tool_error",
        },
        "tools",
    ),
    (400, {"error": {"message": "ai_model does not support function call"}}, "tools"),
    (
        400,
        {
            "errors": [
                {
                    "message": "AiError: Bad input: Error: oneOf at '/' not met, additional properties 'stream_options' not allowed",
                    "code": 5006,
                }
            ]
        },
        "stream_options",
    ),
    (400, {"error": {"message": "Streaming is not supported with tools for this model"}}, "tools"),
    (
        400,
        {
            "error": {
                "message": "Your organization must be verified to stream this model.",
                "param": "stream",
                "code": "unsupported_value",
            }
        },
        "stream",
    ),
    (
        400,
        {
            "error": {
                "message": "parameter.enable_thinking must be set to false for non-streaming calls"
            }
        },
        None,
    ),
    (
        400,
        {
            "error": {
                "message": "This model only support stream mode, please enable the stream parameter to access the model."
            }
        },
        None,
    ),
    (
        400,
        {
            "error": {
                "message": "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"
            }
        },
        None,
    ),
    (400, {"error": {"message": "seed is not supported"}}, "seed"),
    (
        400,
        {"error": {"message": "The parameter `seed` is not supported with reasoning models"}},
        "seed",
    ),
    (400, {"error": {"message": "Parameters presencePenalty is not supported"}}, None),
    (400, {"error": {"message": "Store must be set to false"}}, None),
    (
        400,
        {
            "error": {
                "message": "Unrecognized request arguments supplied: stream_options, safety_identifier"
            }
        },
        "stream_options",
    ),
    (
        400,
        {
            "error": {
                "message": "1 validation error for ChatCompletionRequest\nstream_options\n  Extra inputs are not permitted [type=extra_forbidden]"
            }
        },
        "stream_options",
    ),
    (
        422,
        {
            "detail": [
                {
                    "loc": ["body", "tools"],
                    "msg": "extra fields not permitted",
                    "type": "value_error.extra",
                }
            ]
        },
        "tools",
    ),
    (
        422,
        {
            "error": {
                "message": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "seed"],
                        "msg": "Extra inputs are not permitted",
                    }
                ]
            }
        },
        "seed",
    ),
    (
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "stream_options"],
                        "msg": "Extra inputs are not permitted",
                        "input": {"include_usage": True},
                    }
                ]
            },
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        },
        "stream_options",
    ),
    (400, {"error": {"message": "function name 'calculate' is invalid: must match"}}, None),
    (
        400,
        {
            "error": {
                "message": "Invalid 'tools[0].function.name': string does not match pattern.",
                "param": "tools[0].function.name",
            }
        },
        None,
    ),
    (
        400,
        {"error": {"message": "invalid temperature: only 1 is allowed for this model"}},
        "temperature",
    ),
    (
        400,
        {"error": {"message": "Invalid value for temperature: must be 1.0 for thinking models"}},
        "temperature",
    ),
    (400, {"error": {"message": "temperature must be 1 when thinking is enabled"}}, "temperature"),
    (
        400,
        {"error": {"message": "`temperature` may only be set to 1 when thinking is enabled."}},
        "temperature",
    ),
    (400, {"error": {"message": "`temperature` is deprecated for this model."}}, "temperature"),
    (400, {"error": {"message": "the following parameters are not supported: top_p"}}, "top_p"),
    (
        400,
        {"error": {"message": "Argument not supported on this model: reasoning_effort"}},
        "reasoning_effort",
    ),
    (
        400,
        {"error": {"message": "Model m does not support parameter parallelToolCalls"}},
        "parallel_tool_calls",
    ),
)
REQUEST = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "calculate"}}],
    "safety_identifier": "u",
    "temperature": 0.2,
    "top_p": 1,
    "max_tokens": 50,
    "reasoning_effort": "low",
    "seed": 1,
    "parallel_tool_calls": True,
    "messages": [
        {"role": "system", "content": "You are helpful"},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
    ],
}


def refusal(status: int, body: object) -> RequestRefusedError:
    """Return the error for a response's body."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return RequestRefusedError(status, ErrorReader(()).of_body(status, data, b"{}"))


@pytest.mark.parametrize(("status", "body", "kind"), KINDS)
def test_a_servers_words_tell_what_kind_a_refusal_is(status: int, body: object, kind: str) -> None:
    assert refusal(status, body).kind == kind


@pytest.mark.parametrize(("status", "body", "part"), PARTS)
def test_a_servers_words_tell_what_to_leave_out(
    status: int, body: object, part: str | None
) -> None:
    found = named(refusal(status, body).details, REQUEST)
    assert (found.value if found is not None else None) == part
