"""Ways to run other people's code, or to trust their files, that the source does not take."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import yaml

import gradshield
from gradshield import yaml_files

SOURCES = sorted(Path(gradshield.__path__[0]).rglob("*.py"))


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """File and line, dotted name, and node of every call."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.name}:{node.lineno}", ast.unparse(node.func), node


def imports() -> Iterator[tuple[str, str]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path.name, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield path.name, node.module


def test_nothing_is_unpickled_or_evaluated() -> None:
    banned = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    unpickling = {(file, name) for file, name in imports() if name.split(".")[0] in banned}
    # What tasks and actors of one Ray job hand to each other, which Ray pickles anyway; no file.
    assert unpickling == {("remote.py", "pickle"), ("ray.py", "pickle")}
    found = [
        (place, name)
        for place, name, node in calls()
        if name in ("eval", "exec", "os.system", "torch.load", "np.load", "numpy.load")
        or any(k.arg == "shell" for k in node.keywords)
    ]
    assert found == []


def test_weights_come_from_safetensors_alone() -> None:
    """A model is loaded where the result has weights, or from the built-in model's GGUF file."""
    loaded = [
        (path.name, line)
        for path in SOURCES
        for line in path.read_text(encoding="utf-8").splitlines()
        if "AutoModel" in line and "from_pretrained" in line
    ]
    # Both are called by another name, with output_loading_info; the third reads a GGUF file.
    assert {name for name, _ in loaded} == {"load.py", "classifier.py", "builtin.py"}
    safe = [
        node for _, _, node in calls() if any(k.arg == "output_loading_info" for k in node.keywords)
    ]
    assert len(safe) == 2
    for node in safe:
        assert any(
            k.arg == "use_safetensors" and ast.unparse(k.value) == "True" for k in node.keywords
        )


def test_yaml_is_read_in_one_place() -> None:
    """The editor of a trainer's own configuration needs the places of its values too."""
    for place, name, node in calls():
        if name in ("yaml.safe_load", "yaml.compose"):
            assert place.startswith("yaml_edit.py"), place
            loaders = [ast.unparse(k.value) for k in node.keywords if k.arg == "Loader"]
            assert loaders == ([] if name == "yaml.safe_load" else ["yaml.SafeLoader"]), place
        if name == "_OnceOnly":
            assert place.startswith("yaml_files.py"), place
            assert issubclass(yaml_files._OnceOnly, yaml.SafeLoader)
        assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"), place


def test_templates_are_run_in_one_place() -> None:
    for place, name, _ in calls():
        if name.endswith("apply_chat_template"):
            assert place.startswith("rendering.py"), place


def test_code_of_a_model_is_never_trusted_by_default() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, path.name
        assert "trust_remote_code: bool = True" not in text, path.name
