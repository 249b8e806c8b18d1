from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import DataError, open_container
from gradshield.data.containers import LINE_CONTAINERS, compressed
from gradshield.data.containers.base import Container
from gradshield.data.containers.compressed import COMPRESSIONS, CompressedContainer, Compression
from tests.cli.command_line import gradshield

LINES = [b'{"prompt":"a","completion":"b"}\r\n', b"\n", b'{"x": 1,}\n', b'{"y":\t2}']


def compress(content: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(content)
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def decompress(content: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.decompress(content)
    return bytes(pa.CompressedInputStream(pa.BufferReader(content), "zstd").read())


def write(folder: Path, content: bytes, suffix: str, name: str = "data.jsonl") -> Path:
    path = folder / (name + suffix)
    path.write_bytes(compress(content, suffix))
    return path


def subset(path: Path, positions: list[int], suffix: str) -> bytes:
    container = open_container(path)
    target = path.with_name("subset" + container.suffix)
    container.write_subset(path, positions, target)
    return decompress(target.read_bytes(), suffix)


@pytest.fixture(params=[".gz", ".zst"])
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def temporary_folder(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_rows_are_read_and_written_with_their_bytes(
    tmp_path: Path, suffix: str, temporary_folder: Path
) -> None:
    path = write(tmp_path, b"".join(LINES), suffix)
    container = open_container(path)
    assert container.suffix == ".jsonl" + suffix
    rows = container.read(path)
    assert [row.value for row in rows] == [
        {"prompt": "a", "completion": "b"},
        None,
        {"y": 2},
    ]
    assert rows[1].error is not None
    assert rows[1].error.startswith(f"data.jsonl{suffix}:3:")
    assert container.facts(path).blank_lines == 1
    assert subset(path, [0, 1, 2], suffix) == LINES[0] + LINES[2] + LINES[3]
    assert subset(path, [2], suffix) == LINES[3]
    assert subset(path, [], suffix) == b""
    assert list(temporary_folder.iterdir()) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"data.jsonl{suffix}",
        f"subset.jsonl{suffix}",
    ]


@pytest.mark.parametrize("inner", LINE_CONTAINERS, ids=lambda inner: inner.suffix)
@pytest.mark.parametrize("compression", COMPRESSIONS, ids=lambda compression: compression.name)
def test_every_line_container_has_its_compressed_twin(
    tmp_path: Path, inner: Container, compression: Compression
) -> None:
    content = {".csv": b'a,b\n1,"2\n"\n', ".tsv": b"a\tb\n1\t2\n"}.get(inner.suffix, b'{"a": 1}\n')
    path = write(tmp_path, content, compression.suffix, "data" + inner.suffix)
    plain = tmp_path / f"data{inner.suffix}"
    plain.write_bytes(content)
    container = open_container(path)
    assert container == CompressedContainer(inner, compression)
    assert container.read(path) == inner.read(plain)
    assert subset(path, [0], compression.suffix) == content


def test_output_depends_on_the_rows_only(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, b"".join(LINES), suffix)
    container = open_container(path)
    outputs = [tmp_path / f"{name}.jsonl{suffix}" for name in ("one", "another")]
    container.write_subset(path, [0, 2], outputs[0])
    monkeypatch.setattr("time.time", lambda: 2e9)
    container.write_subset(path, [0, 2], outputs[1])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    if suffix == ".gz":
        # RFC 1952: no flags, so no name, and no time.
        assert outputs[0].read_bytes()[3:8] == bytes(5)


def test_files_of_several_members_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data.jsonl{suffix}"
    path.write_bytes(compress(b'{"a": 1}\n', suffix) + compress(b'{"a": 2}\n', suffix))
    rows = open_container(path).read(path)
    assert [row.value for row in rows] == [{"a": 1}, {"a": 2}]


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd program")
def test_the_zstd_program_and_this_package_read_each_other(tmp_path: Path) -> None:
    plain = tmp_path / "data.jsonl"
    plain.write_bytes(b'{"a": 1}\n{"a": 2}\n')
    subprocess.run(["zstd", "-q", "-19", "--check", plain], check=True)
    path = tmp_path / "data.jsonl.zst"
    assert subset(path, [1], ".zst") == b'{"a": 2}\n'
    back = subprocess.run(["zstd", "-dcq", tmp_path / "subset.jsonl.zst"], capture_output=True)
    assert back.stdout == b'{"a": 2}\n'


@pytest.mark.parametrize("cut", [slice(-1), slice(20), slice(0, 3)], ids=str)
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, suffix: str, cut: slice) -> None:
    path = write(tmp_path, bytes(range(256)) * 9 + b"".join(LINES), suffix)
    path.write_bytes(path.read_bytes()[cut])
    with pytest.raises(DataError, match=r"or cut short \(.*\); fetch or compress it again"):
        open_container(path)


def test_other_content_is_refused(tmp_path: Path, suffix: str, temporary_folder: Path) -> None:
    path = tmp_path / f"data.jsonl{suffix}"
    damaged = bytearray(compress(b"".join(LINES) * 50, suffix))
    damaged[len(damaged) // 2] ^= 0xFF
    whole = compress(b"{}\n", suffix)
    for content in (b"".join(LINES), bytes(damaged[:10]) + b"\xff" * 30, whole + b"more text"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a readable") as refusal:
            open_container(path)
        assert str(refusal.value).startswith(f"{path}: ")
        assert "\n" not in str(refusal.value)
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", ": there are no rows in it"),
        ("a.jsonl", b" \n\n", ": there are no rows in it"),
        ("a.json", b"", ": there are no rows in it"),
        ("a.json", b' \n[{"a": 1}]', ": a compressed .json file must hold JSON Lines; decompress"),
        ("a.json", b'{\n"a": 1}', ": a compressed .json file must hold JSON Lines; decompress"),
        ("a.csv", b"", ": there is no header"),
        ("a.csv", b"a,a\n1,2\n", ":1:1: the header has the name 'a' twice"),
        ("a.jsonl", b"\xff\xfe{\x00}\x00", ": the file is encoded in UTF-16"),
    ],
)
def test_a_refusal_of_the_content_names_the_compressed_file(
    tmp_path: Path, suffix: str, name: str, content: bytes, words: str
) -> None:
    path = write(tmp_path, content, suffix, name)
    with pytest.raises(DataError) as refusal:
        open_container(path)
    assert str(refusal.value).startswith(f"{path}{words}")


def test_nothing_is_written_when_a_position_does_not_exist(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, b'{"a":1}\n', suffix)
    target = tmp_path / f"out.jsonl{suffix}"
    with pytest.raises(DataError, match="row 1 was asked for, but the file has 1 rows") as refusal:
        open_container(path).write_subset(path, [0, 1], target)
    assert str(refusal.value).startswith(f"{path}: ")
    with pytest.raises(DataError, match="overwrite its own input"):
        open_container(path).write_subset(path, [0], path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_beyond_the_size_limit_is_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch, temporary_folder: Path
) -> None:
    path = write(tmp_path, b"{}\n" * 1000, suffix)
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "3000e-9")
    assert len(open_container(path).read(path)) == 1000
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "2999e-9")
    with pytest.raises(DataError, match=r"more than 3e-06 GB, .* raise GRADSHIELD_MAX_GB"):
        open_container(path)
    assert list(temporary_folder.iterdir()) == []


def test_a_ratio_beyond_the_limit_is_refused_in_large_files_only(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, b"{}\n" * 10_000, suffix)
    assert 10 * path.stat().st_size < 30_000
    monkeypatch.setattr(compressed, "MOST_RATIO", 10)
    monkeypatch.setattr(compressed, "RATIO_COUNTS_FROM", 30_000)
    assert len(open_container(path).read(path)) == 10_000
    monkeypatch.setattr(compressed, "RATIO_COUNTS_FROM", 29_999)
    with pytest.raises(DataError, match="decompresses to more than 10 times its size"):
        open_container(path)


def test_a_bomb_is_stopped_before_it_is_on_the_disk(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, bytes(20 * compressed.BLOCK), suffix)
    monkeypatch.setattr(compressed, "most_bytes", lambda: compressed.BLOCK)
    blocks = compressed._blocks(path, next(c for c in COMPRESSIONS if c.suffix == suffix))
    taken = []
    with pytest.raises(DataError, match="so it may be made to fill the memory"):
        taken.extend(len(block) for block in iter(blocks.__next__, None))
    assert sum(taken) <= compressed.BLOCK


def test_a_pyarrow_without_zstandard_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, b"".join(LINES), ".zst")
    monkeypatch.setattr(compressed, "_zstandard_is_there", lambda: False)
    outcome = gradshield("score", path, "--model", "absent", "--out", tmp_path / "run")
    assert outcome.code != 0
    said = " ".join(outcome.err.split())
    assert "pyarrow was built without Zstandard" in said
    assert "pip install --force-reinstall pyarrow" in said
    assert "Traceback" not in outcome.out + outcome.err


@given(
    lines=st.lists(
        st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"") + b"x"), min_size=1
    ),
    ended=st.booleans(),
    kind=st.sampled_from([".gz", ".zst"]),
    data=st.data(),
)
def test_any_subset_of_lines_keeps_its_bytes(
    lines: list[bytes], ended: bool, kind: str, data: st.DataObject
) -> None:
    # The first line keeps the content from being taken for UTF-16 or for a byte order mark.
    ends = [b"{}\n", *(line + b"x\n" for line in lines)]
    if not ended:
        ends[-1] = ends[-1][:-1]
    with TemporaryDirectory() as folder:
        path = write(Path(folder), b"".join(ends), kind)
        kept = sorted(data.draw(st.sets(st.sampled_from(range(len(ends))))))
        assert subset(path, kept, kind) == b"".join(ends[position] for position in kept)
