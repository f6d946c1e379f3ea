"""A page with a part of its own beside the chat."""

from cmw_agent import Agent, create_app

PART = """
<h2>Opening hours</h2>
<p>Monday to Friday, 9 to 17.</p>
<p><a href="https://shop.example.com/contact" target="_blank" rel="noopener">Write to us</a></p>
"""

app = create_app(
    agents=[Agent(id="help", name="Help desk", prompt="You help customers.")], page_part=PART
)
