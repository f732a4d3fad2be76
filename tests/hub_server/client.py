"""A client process of the loopback Hub that runs huggingface_hub with its own home and token.

It is started once and used many times, because its imports take seconds. It runs Python code of a test or a command
line of hf_speech, and returns the result. All of its output goes to a file. Waiting between retries is skipped and
recorded: `waits` returns how long it would have been.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from hub_server import HubServer


# On a busy machine hf_xet closes what a failed upload had open a moment after the failure is told.
_STILL_OPEN = "Database already open"
_PATIENCE = 20  # attempts, half a second apart


class Finished(NamedTuple):
    """The result of a command line."""

    status: int
    out: str
    err: str


class ClientError(Exception):
    """An exception in the client's process; `kind` is the name of its class."""

    def __init__(self, kind: str, message: str, trace: str) -> None:
        super().__init__(f"{kind}: {message}\n{trace}")
        self.kind = kind
        self.message = message


class Client:
    """A handle of the client process.

    Args:
        hub: The server.
        home: Its HF_HOME, with its output in `printed.txt`.
        **environment: Further environment variables.
    """

    def __init__(self, hub: HubServer, home: Path, **environment: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.printed = home / "printed.txt"
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        with self.printed.open("wb") as printed:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(to_child), str(from_child)],
                env=hub.environment(home) | environment,
                pass_fds=(to_child, from_child),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                cwd=home,
            )
        os.close(to_child)
        os.close(from_child)
        self._questions = os.fdopen(self._write, "w")
        self._answers = os.fdopen(self._read)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._questions.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._answers.close()

    def run(self, source: str, *, environment: dict[str, str | None] | None = None, **values: Any) -> Any:
        """Runs Python code and returns its variable `result`.

        Args:
            source: Statements; `api` is an `HfApi`.
            environment: Environment variables for this call; None removes one.
            **values: Variables of the code (plain data).

        Raises:
            ClientError: If the code raises an exception.
        """
        question = {"source": source, "values": values, "environment": environment or {}}
        for _ in range(_PATIENCE):
            try:
                return self._ask(question)
            except ClientError as error:
                if _STILL_OPEN not in str(error):
                    raise
                time.sleep(0.5)
        return self._ask(question)

    def cli(self, *words: object, environment: dict[str, str | None] | None = None) -> Finished:
        """Runs `hf-speech WORDS` and returns its exit status and output."""
        source = "result = command_line(words)"
        return Finished(*self.run(source, words=[str(word) for word in words], environment=environment))

    @property
    def waits(self) -> list[float]:
        """Returns the seconds that the client would have waited between retries since the last call."""
        return self.run("result = list(waits); waits.clear()")

    def _ask(self, question: dict[str, Any]) -> Any:
        self._questions.write(json.dumps(question) + "\n")
        self._questions.flush()
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"The client is gone:\n{self.printed.read_text()[-3000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise ClientError(*answer["error"])
        return answer["result"]


def _serve(questions: io.TextIOBase, answers: io.TextIOBase) -> None:
    """Runs the loop of the process."""
    names = _prepared()
    for line in questions:
        question = json.loads(line)
        before = dict(os.environ)
        for name, value in question["environment"].items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        try:
            space = names | question["values"]
            exec(question["source"], space)
            answer = {"result": space.get("result")}
        except Exception as error:
            answer = {"error": [type(error).__name__, str(error), traceback.format_exc()]}
        os.environ.clear()
        os.environ.update(before)
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()


def _prepared() -> dict[str, Any]:
    """Returns the variables available to the code."""
    import time
    from types import SimpleNamespace

    import huggingface_hub
    from huggingface_hub.utils import _http

    waits: list[float] = []
    _http.time = SimpleNamespace(**{**vars(time), "sleep": waits.append})
    return {"api": huggingface_hub.HfApi(), "waits": waits, "command_line": _command_line, "Path": Path}


def _command_line(words: list[str]) -> Finished:
    from hf_speech.cli.app import main

    out, err = io.StringIO(), io.StringIO()
    status = 0
    arguments, sys.argv = sys.argv, ["hf-speech", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as exit_:
            status = int(exit_.code or 0)
    sys.argv = arguments
    print(out.getvalue(), err.getvalue(), flush=True)
    return Finished(status, out.getvalue(), err.getvalue())


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[1])) as _questions, os.fdopen(int(sys.argv[2]), "w") as _answers:
        _serve(_questions, _answers)
    sys.stdout.flush()
    os._exit(0)  # Threads of libraries would take seconds to end.
