"""Forked and spawned workers: each counts its own calls, and each shows what all of them counted."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

COMMON = """
    import os, sys, threading, traceback
    from anthropic_exporter import Call, Inference, Recorder, Tokens, attribution

    def made(output):
        return Call("claude-opus-5-5", inferences=(Inference("claude-opus-5-5", Tokens(1000, 0, 0, 0, output)),),
                    started_at=1_795_262_400.0, duration_seconds=1.5)

    def numbers(recorder):
        text = recorder.render().decode()
        found = {"requests": 0.0, "output": 0.0, "cost": 0.0, "inflight": 0.0}
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("anthropic_requests_total{"): found["requests"] += float(value)
            if name.startswith("anthropic_tokens_total{") and 'type="output"' in name: found["output"] += float(value)
            if name.startswith("anthropic_cost_usd_total{"): found["cost"] += float(value)
            if name.startswith("anthropic_inflight_requests{"): found["inflight"] += float(value)
        return {name: round(value, 9) for name, value in found.items()}

    def forked(work):
        # Run `work` in a forked child; what it returns is printed there. A child that hangs is killed by its alarm.
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            import signal
            signal.alarm(20)
            try:
                print(work(), flush=True)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, "the child hung or failed"
"""


def run(script: str, tmp_path: Path) -> list[str]:
    """Run a script in a fresh interpreter; its lines of output."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(COMMON) + textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "-W", "error", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
def test_prefork_workers_and_their_parent_each_show_what_all_of_them_counted(tmp_path: Path) -> None:
    lines = run(
        """
        recorder = Recorder()
        for _ in range(3):
            recorder.record(made(100))

        def work():
            before = numbers(recorder)
            recorder.record(made(7))
            return [before, numbers(recorder)]

        forked(work)
        forked(work)
        recorder.record(made(100))
        print(numbers(recorder))
        """,
        tmp_path,
    )
    # 1000 input and 100 or 7 output at 4 and 20 dollars a million: $0.006 and $0.00414
    assert lines == [
        str(
            [
                {"requests": 3.0, "output": 300.0, "cost": 0.018, "inflight": 0.0},
                {"requests": 4.0, "output": 307.0, "cost": 0.02214, "inflight": 0.0},
            ]
        ),
        str(
            [
                {"requests": 4.0, "output": 307.0, "cost": 0.02214, "inflight": 0.0},
                {"requests": 5.0, "output": 314.0, "cost": 0.02628, "inflight": 0.0},
            ]
        ),
        str({"requests": 6.0, "output": 414.0, "cost": 0.03228, "inflight": 0.0}),
    ]


@needs_fork
def test_a_worker_records_though_another_thread_held_the_locks_when_it_was_forked(tmp_path: Path) -> None:
    lines = run(
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads: that is the point
        recorder = Recorder()
        recorder.begin(1, "claude-opus-5-5", attribution().__enter__())  # in flight at the fork: the parent's
        recorder._live.due = 0.0  # the price file is to be looked at
        held, release = threading.Event(), threading.Event()

        def hold():
            assert recorder._waiting.lock.acquire(sys._getframe())
            assert recorder._live._lock.acquire(sys._getframe())
            held.set()
            release.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(30)

        def work():
            recorder.record(made(7))
            return numbers(recorder)

        forked(work)
        release.set()
        holder.join()
        print(numbers(recorder))
        """,
        tmp_path,
    )
    assert lines == [
        str({"requests": 1.0, "output": 7.0, "cost": 0.00414, "inflight": 0.0}),
        str({"requests": 1.0, "output": 7.0, "cost": 0.00414, "inflight": 1.0}),
    ]


@needs_fork
def test_a_forked_worker_records_by_the_client_and_keeps_the_attribution_of_its_parent(tmp_path: Path) -> None:
    lines = run(
        """
        import anthropic
        http = sys.modules.get("httpx2") or sys.modules["httpx"]
        body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-5", "content": [],
                "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1000, "output_tokens": 7}}
        recorder = Recorder()
        answers = http.MockTransport(lambda request: http.Response(200, json=body))
        client = anthropic.Anthropic(api_key="sk-ant-test", http_client=http.Client(transport=answers),
                                     middleware=[recorder.middleware()])
        ask = {"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
        client.messages.create(**ask)

        def work():
            client.messages.create(**ask)
            text = recorder.render().decode()
            return numbers(recorder), 'feature="crawl"' in text, 'feature=""' in text

        with attribution(feature="crawl"):
            forked(work)
        """,
        tmp_path,
    )
    assert lines == [str(({"requests": 2.0, "output": 14.0, "cost": 0.00828, "inflight": 0.0}, True, True))]


@needs_fork
def test_workers_forked_under_load_are_counted_exactly_and_the_parent_loses_nothing(tmp_path: Path) -> None:
    """As gunicorn does it, while threads of the parent record, scrape and look up prices."""
    lines = run(
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork beside threads: that is the point
        sys.setswitchinterval(1e-5)
        recorder = Recorder()
        recorder.subscribe(lambda call: None)
        stop, recorded = threading.Event(), []

        def load():
            count = 0
            while not stop.is_set():
                recorder.record(made(1)._replace(feature=f"load-{count % 7}"))
                count += 1
            recorded.append(count)

        def scrape():
            while not stop.is_set():
                recorder.render()

        threads = [threading.Thread(target=load) for _ in range(3)] + [threading.Thread(target=scrape)]
        for thread in threads:
            thread.start()

        def work():
            workers = [threading.Thread(target=lambda: [recorder.record(made(7)) for _ in range(50)]) for _ in range(2)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            return "done"

        for _ in range(20):
            forked(work)
        stop.set()
        for thread in threads:
            thread.join()
        found = numbers(recorder)
        print(sum(recorded) > 100, found["requests"] - sum(recorded), found["output"] - sum(recorded))
        """,
        tmp_path,
    )
    assert lines == ["done"] * 20 + ["True 2000.0 14000.0"]


def test_a_spawned_worker_imports_cleanly_and_counts_its_own(tmp_path: Path) -> None:
    lines = run(
        """
        import multiprocessing

        recorder = Recorder()  # made again by the import in the child

        def work(results):
            before = numbers(recorder)
            recorder.record(made(7))
            results.put([before, numbers(recorder)])

        if __name__ == "__main__":
            recorder.record(made(100))
            context = multiprocessing.get_context("spawn")
            results = context.SimpleQueue()
            child = context.Process(target=work, args=(results,))
            child.start()
            print(results.get())
            child.join(30)
            print(child.exitcode, numbers(recorder))
        """,
        tmp_path,
    )
    assert lines == [
        (
            "[{'requests': 0.0, 'output': 0.0, 'cost': 0.0, 'inflight': 0.0}, "
            "{'requests': 1.0, 'output': 7.0, 'cost': 0.00414, 'inflight': 0.0}]"
        ),
        "0 {'requests': 1.0, 'output': 100.0, 'cost': 0.006, 'inflight': 0.0}",
    ]
