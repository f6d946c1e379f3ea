"""Chat templates as models bring them along, in Jinja."""

from tests.real_server.random_model import CALL_FIRST, NOTHING, TEXT_FIRST

_MESSAGES = """\
{%- for message in messages -%}
<|{{ message.role }}|>
{{ message.content }}
{% endfor -%}
"""
_ANSWER = "{%- if add_generation_prompt -%}\n<|assistant|>\n"

PLAIN = f"{_MESSAGES}{_ANSWER}{TEXT_FIRST}{{%- endif -%}}"
BLANK = f"{_MESSAGES}{_ANSWER}{NOTHING}{{%- endif -%}}"
# As Qwen3's and DeepSeek R1's: the answer begins inside of the thoughts. llama.cpp finds out by itself
# where thoughts end for a template that shows it, and sends the text of others with its tag.
THINKING_RAW = f"{_MESSAGES}{_ANSWER}<think>\n{TEXT_FIRST}{{%- endif -%}}"
THINKING = (
    """\
{%- for message in messages -%}
<|{{ message.role }}|>
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>
{% endif -%}
{{ message.content }}
{% endfor -%}
"""
    f"{_ANSWER}<think>\n{TEXT_FIRST}{{%- endif -%}}"
)

# As Gemma's. llama.cpp tries each template when it starts, with a system message "System message" or
# the like, and would put the system's text into the user's message where that raises; other servers
# do not, so this template raises only for the longer texts of real conversations.
STRICT = (
    """\
{%- for message in messages -%}
{%- if message.role == 'system' and message.content | length > 40 -%}
{{ raise_exception('System role not supported') }}
{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) and message.content | length > 40 -%}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif -%}
{%- endfor -%}
"""
    + PLAIN
)

# As those of Hermes 2 Pro and Qwen 2.5, but that a call follows its tag without a new line.
TOOLS = (
    """\
{%- if tools -%}
<|system|>
You may call these functions:
<tools>
{% for tool in tools %}{{ tool | tojson }}
{% endfor -%}
</tools>
For each call return a JSON object within tags:
<tool_call>{"name": <function-name>, "arguments": <args-json-object>}</tool_call>
{% endif -%}
{%- for message in messages -%}
<|{{ message.role }}|>
{% if message.role == 'tool' -%}
<tool_response>{{ message.content }}</tool_response>
{% else -%}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] -%}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>
"""
    f"{{{{ '{CALL_FIRST}' if tools and messages[-1].role == 'user' else '{TEXT_FIRST}' }}}}"
    "{%- endif -%}"
)
