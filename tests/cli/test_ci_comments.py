"""The scripts of `docs/ci` that write the review's one comment: made at first, written anew by every later run."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

FOLDER: Final = Path(__file__).parents[2] / "docs" / "ci"
GITHUB: Final[dict[Any, Any]] = yaml.safe_load((FOLDER / "github-actions.yml").read_text())
GITLAB: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())
MARK: Final = "<!-- sidecar-policy-review -->"

GH: Final = """#!/bin/sh
echo "$@" >> calls
case "$*" in *--paginate*) cat earlier ;; esac
"""


def step(name: str) -> str:
    """The script of one step of the review on GitHub."""
    return next(str(each["run"]) for each in GITHUB["jobs"]["review"]["steps"] if each.get("name") == name)


def bash(text: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a script does in a folder, as runners call it."""
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", text],  # noqa: S607 - as a runner finds it
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | variables,
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with both parts of a report."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report/diff.md").write_text("what differs\n")
    (tmp_path / "report/replay.md").write_text("what flips\n")
    return tmp_path


def test_the_report_is_the_comment_and_the_summary(folder: Path) -> None:
    done = bash(step("Put the report together"), folder, RUN_URL="run", GITHUB_STEP_SUMMARY="summary")
    assert done.returncode == 0, done.stderr
    text = (folder / "report/comment.md").read_text()
    assert text == f"{MARK}\nwhat flips\n\nwhat differs\n\nErrors, tests and coverage: [this run](run).\n"
    assert (folder / "summary").read_text() == text


def test_a_part_that_failed_is_told(folder: Path) -> None:
    """A comment that lacks it would read as if nothing flipped."""
    (folder / "report/replay.md").unlink()
    done = bash(step("Put the report together"), folder, RUN_URL="run", GITHUB_STEP_SUMMARY="summary")
    assert done.returncode == 0, done.stderr
    assert f"{MARK}\n**The replay failed**, the run says why.\n\nwhat differs\n" in (folder / "summary").read_text()


def test_a_report_that_is_too_long_for_a_comment_stays_in_the_summary(folder: Path) -> None:
    (folder / "report/diff.md").write_text("x" * 70_000)
    done = bash(step("Put the report together"), folder, RUN_URL="run", GITHUB_STEP_SUMMARY="summary")
    assert done.returncode == 0, done.stderr
    assert (folder / "report/comment.md").read_text().startswith(f"{MARK}\nThe report is too long")
    assert (folder / "summary").stat().st_size > 70_000


@pytest.mark.parametrize(
    ("earlier", "call"),
    [
        ("", "api --silent --method POST repos/o/r/issues/7/comments -F body=@report/comment.md"),
        ("41\n", "api --silent --method PATCH repos/o/r/issues/comments/41 -F body=@report/comment.md"),
    ],
)
def test_github_has_one_comment(folder: Path, earlier: str, call: str) -> None:
    (folder / "gh").write_text(GH)
    (folder / "gh").chmod(0o755)
    (folder / "earlier").write_text(earlier)
    done = bash(step("Comment"), folder, GITHUB_REPOSITORY="o/r", NUMBER="7")
    assert done.returncode == 0, done.stderr
    assert (folder / "calls").read_text().splitlines()[-1] == call


def test_no_history_means_no_replay(folder: Path) -> None:
    (folder / "gh").write_text("#!/bin/sh\n")
    (folder / "gh").chmod(0o755)
    done = bash(step("Fetch the history"), folder, GITHUB_REPOSITORY="o/r", DEFAULT_BRANCH="m", GITHUB_OUTPUT="out")
    assert done.returncode == 0, done.stderr
    assert not (folder / "out").exists()
    assert "nothing was replayed" in (folder / "report/replay.md").read_text()


@pytest.mark.parametrize(
    ("code", "fail_on_flips", "expected"), [(0, "true", 0), (1, "", 0), (1, "true", 1), (2, "", 2), (2, "true", 2)]
)
def test_flips_fail_a_run_only_where_that_is_asked_for(
    folder: Path, code: int, fail_on_flips: str, expected: int
) -> None:
    (folder / "sidecar").write_text(f"#!/bin/sh\nexit {code}\n")
    (folder / "sidecar").chmod(0o755)
    assert bash(step("Replay"), folder, FAIL_ON_FLIPS=fail_on_flips).returncode == expected


class _Gitlab(BaseHTTPRequestHandler):
    """As much of a merge request's notes as the program asks for, a page of two at a time."""

    notes: list[dict[str, Any]]

    def _answer(self, document: object) -> None:
        assert self.headers["PRIVATE-TOKEN"] == "secret"
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> str:
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def do_GET(self) -> None:
        """Tell who asks, or a page of notes."""
        if self.path == "/api/user":
            self._answer({"id": 9})
            return
        found = re.fullmatch(r"/api/projects/5/merge_requests/3/notes\?per_page=100&page=(\d+)", self.path)
        assert found is not None
        page = int(found[1])
        self._answer(self.notes[2 * page - 2 : 2 * page])

    def do_POST(self) -> None:
        """Keep a new note."""
        assert self.path == "/api/projects/5/merge_requests/3/notes"
        self.notes.append({"id": len(self.notes), "author": {"id": 9}, "body": self._body()})
        self._answer({})

    def do_PUT(self) -> None:
        """Write a note anew."""
        assert self.path.startswith("/api/projects/5/merge_requests/3/notes/")
        self.notes[int(self.path.rpartition("/")[2])]["body"] = self._body()
        self._answer({})

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@contextmanager
def gitlab(notes: list[dict[str, Any]]) -> Iterator[str]:
    """Serve notes; gives the address of the API."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Gitlab", (_Gitlab,), {"notes": notes}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_gitlab_has_one_note(folder: Path) -> None:
    """It is this token's own: somebody else's note that begins with the same line stays as it is."""
    text = next(each for each in GITLAB["policy-review"]["script"] if "PYTHON" in each)
    notes = [{"id": number, "author": {"id": 1}, "body": f"{MARK}\nby hand"} for number in range(3)]
    with gitlab(notes) as address:
        variables = {
            "CI_API_V4_URL": address,
            "CI_PROJECT_ID": "5",
            "CI_MERGE_REQUEST_IID": "3",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        for told in ("first", "second"):
            (folder / "report/note.md").write_text(f"{MARK}\n{told}")
            assert bash(text, folder, **variables).returncode == 0
            done = bash(text, folder, **variables, SIDECAR_REVIEW_TOKEN="secret")
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
            assert [note["body"] for note in notes] == [f"{MARK}\nby hand"] * 3 + [f"{MARK}\n{told}"]
