"""Import hooks that make `import gradio` cheaper; they act on two modules by name.

- pandas is executed when one of its attributes is first read. Gradio imports it at its start and
  needs it for data frames and plots, of which the page has none. Before Python 3.11.9 and 3.12.3
  `LazyLoader` is not safe when two threads read the first attribute at once (CPython's issue
  114763); nothing in the app reads any.
- Gradio writes a stub file (``.pyi``) for each component's class when the class is made: it
  parses the component's source twice, renders a template and may write into its own package.
  The stubs serve editors, so the function that writes them does nothing here.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

LAZY_MODULE = "pandas"
STUB_MODULE, STUB_WRITER = "gradio.component_meta", "create_or_modify_pyi"


class _WithoutStubs(Loader):
    """Loads Gradio's metaclass of components without its writer of stubs."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if hasattr(module, STUB_WRITER):
            setattr(module, STUB_WRITER, _no_stub)


class LeanFinder(MetaPathFinder):
    """Finds modules as Python does, and loads the two in another way."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of one of the two; None for other modules."""
        if fullname not in (LAZY_MODULE, STUB_MODULE):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            change = LazyLoader if fullname == LAZY_MODULE else _WithoutStubs
            spec.loader = change(spec.loader)
        return spec


def install() -> None:
    """Let later imports go through `LeanFinder`; harmless where it is installed already."""
    if not any(isinstance(finder, LeanFinder) for finder in sys.meta_path):
        sys.meta_path[:] = [LeanFinder(), *sys.meta_path]


def _no_stub(*_arguments: object) -> None:
    """Stand in for Gradio's writer of stubs."""
