from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import open_container
from gradshield.data.containers.text_lines import TextLinesContainer

TEXT = TextLinesContainer()
CONTENT = b"\xef\xbb\xbfOne line.\r\n \n  Two\x0blines?\nbad \xff byte\nlast"


def test_each_line_is_a_row_and_blank_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(CONTENT)
    rows = open_container(path).read(path)
    assert [(row.position, row.line, row.value) for row in rows] == [
        (0, 1, {"text": "One line."}),
        (1, 3, {"text": "  Two\x0blines?"}),
        (2, 4, None),
        (3, 5, {"text": "last"}),
    ]
    assert rows[2].reason == "invalid_text"
    assert rows[2].error == "a.txt:4:5: not valid UTF-8 (byte 0xff); save the file as UTF-8"
    facts = TEXT.facts(path)
    assert (facts.rows, facts.blank_lines, len(facts.notes)) == (4, 1, 1)


bytes_of_a_line = st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"") + b"\n")


@given(lines=st.lists(bytes_of_a_line, max_size=6), data=st.data())
def test_written_lines_keep_their_bytes(lines: list[bytes], data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        source, target = folder / "a.txt", folder / "b.txt"
        source.write_bytes(b"x" + b"".join(lines))
        rows = [line for line in source.read_bytes().split(b"\n") if line.strip()]
        chosen = [i for i in range(len(rows)) if data.draw(st.booleans())]
        TEXT.write_subset(source, chosen, target)
        written = target.read_bytes().split(b"\n")
        assert [line for line in written if line] == [rows[i] for i in chosen]
