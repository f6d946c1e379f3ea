"""The environment variables that the installed Gradio reads."""

from pathlib import Path

import gradio
import huggingface_hub
import pytest

from cmw_agent.web.gradio_transport import environment

PACKAGES = {"GRADIO": gradio, "HF": huggingface_hub}


@pytest.mark.parametrize("name", sorted(environment.SETTINGS))
def test_a_setting_for_gradio_is_one_that_it_still_reads(name: str) -> None:
    package = PACKAGES[name.partition("_")[0]]
    assert package.__file__ is not None
    sources = Path(package.__file__).parent.rglob("*.py")
    assert any(f'"{name}"' in source.read_text(encoding="utf-8") for source in sources)
