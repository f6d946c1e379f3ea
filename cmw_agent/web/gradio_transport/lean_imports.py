"""Import hooks that make `import gradio` cheaper; they act on three modules by name.

- pandas is executed when one of its attributes is first read. Gradio imports it at its start and
  needs it for data frames and plots, of which the page has none. Before Python 3.11.9 and 3.12.3
  `LazyLoader` is not safe when two threads read the first attribute at once (CPython's issue
  114763); nothing in the app reads any.
- Gradio writes a stub file (``.pyi``) for each component's class when the class is made: it
  parses the component's source twice, renders a template and may write into its own package.
  The stubs serve editors, so the function that writes them does nothing here.
- Gradio imports the package `mcp`, where there is one, for a server that the app does not run: 0.8 s
  and 30 MB. It does without it, as where there is none.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import MappingProxyType, ModuleType

LAZY_MODULE = "pandas"
STUB_MODULE, STUB_WRITER = "gradio.component_meta", "create_or_modify_pyi"
MCP_MODULE, MCP_PACKAGE = "gradio.mcp", "mcp"


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


class _WithoutMcp(Loader):
    """Loads Gradio's own MCP server as where there is no package `mcp`."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        is_loaded = MCP_PACKAGE in sys.modules
        if not is_loaded:
            sys.modules[MCP_PACKAGE] = None  # type: ignore[assignment]
        try:
            self._loader.exec_module(module)
        finally:
            if not is_loaded:
                del sys.modules[MCP_PACKAGE]


# How each module is loaded.
LOADERS: Mapping[str, Callable[[Loader], Loader]] = MappingProxyType(
    {LAZY_MODULE: LazyLoader, STUB_MODULE: _WithoutStubs, MCP_MODULE: _WithoutMcp}
)


class LeanFinder(MetaPathFinder):
    """Finds modules as Python does, and loads the three in another way."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of one of the three; None for other modules."""
        if fullname not in LOADERS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LOADERS[fullname](spec.loader)
        return spec


def install() -> None:
    """Let later imports go through `LeanFinder`; harmless where it is installed already."""
    if not any(isinstance(finder, LeanFinder) for finder in sys.meta_path):
        sys.meta_path[:] = [LeanFinder(), *sys.meta_path]


def _no_stub(*_arguments: object) -> None:
    """Stand in for Gradio's writer of stubs."""
