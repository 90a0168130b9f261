"""Thousands of odd inputs for the library's public functions, each in a process with limits, and what became of each.

``python bench/campaign.py`` draws 5,000 from a seed; ``--again "photographs:37"`` repeats one and shows its traceback.
Every input has an oracle beside it (``bench/odd``), which says whether an answer is right. What the processes may not
do: take 1.5 GB more than they began with, go on for half a minute, write outside their own folder, start programs. It
needs Linux and 2 GB of memory a job. The exit status is 1 where anything crashed, hung, flooded the memory, or was
answered wrongly.
"""

import argparse
import dis
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # a forked process may not use its parent's threads
sys.dont_write_bytecode = True

import torch  # noqa: E402
from odd import AREAS, warm_up  # noqa: E402

OUTCOMES = (
    "right",
    "clear error",
    "raw error",
    "wrong",
    "crash",
    "hang",
    "flood",
    "broken",
)  # broken: this program itself
FAILURES = ("wrong", "crash", "hang", "flood", "broken")
DOCUMENTED = (ValueError, TypeError, LookupError, OSError, ImportError, RuntimeError)
SECONDS, BYTES = 30, 1.5e9
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.truncate",
    "os.link",
    "os.symlink",
    "shutil.rmtree",
}
STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"}


def described(error):
    """An exception in one line: what, said where."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "/xfvlib/" in frame.filename][-1:] + frames[-1:]
    places = dict.fromkeys("/".join(Path(frame.filename).parts[-2:]) + f":{frame.lineno}" for frame in inside)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]} [{', '.join(places)}]"


def classed(error):
    """``(outcome, detail)`` of an exception: clear where the library itself raised it, of a usual type and in words."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    raised = "/xfvlib/" in code.co_filename and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    by_name = isinstance(error, OSError) and error.filename is not None and str(error.filename) in str(error)
    ours = Path(code.co_filename).parent.name == "odd"  # there Python says which argument is unknown or missing
    own_call = ours and isinstance(error, TypeError) and "argument" in str(error)
    clear = (raised and isinstance(error, DOCUMENTED) and len(str(error)) > 20) or by_name or own_call
    if isinstance(error, MemoryError):
        return "flood", described(error)
    return "clear error" if clear else "raw error", described(error)


class Watch:
    """Notes what Python is asked to write outside a folder, and to start, while it is on."""

    def __init__(self, folder):
        self.folder, self.on, self.seen = str(folder), False, []
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if not self.on or event not in {"open"} | CHANGES | STARTS:
            return
        given = arguments[0]
        path = os.path.realpath(os.fsdecode(given)) if isinstance(given, (str, bytes, os.PathLike)) else ""
        changes = event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES)
        harmless = (
            path in ("", os.devnull) or path.startswith(self.folder) or (event == "os.mkdir" and Path(path).exists())
        )
        if (event in STARTS and given != "uname") or (changes and not harmless):  # platform asks uname
            self.seen.append(f"{event} {given!s:.80}")


def resident(process="self"):
    """Bytes in memory of a process; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def attempt(area, number, seed, folder, tell, show=False):
    """Make one input, try it, and ``tell`` what came of it: in a process of its own."""
    os.chdir(folder)
    tempfile.tempdir = os.environ["XFV_CACHE"] = str(folder)
    watch, rng, outcome = Watch(folder), random.Random(f"{seed} {area} {number}"), "broken"
    try:
        given = AREAS[area].make(rng)
        tell(what=given.what, bytes=resident())
        Path("/proc/self/clear_refs").write_text("5")  # the largest memory is counted from here
        watch.on = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = given.call()
            except Exception as error:
                outcome, detail = classed(error)
                if show:
                    traceback.print_exception(error)
            else:
                complaint = given.check(result)
                outcome, detail = ("wrong", complaint) if complaint else ("right", "")
        watch.on = False
        if watch.seen:
            outcome, detail = "wrong", f"{outcome}, and it did: {'; '.join(watch.seen[:3])}"
    except Exception as error:
        outcome, detail = "broken", described(error)
        if show:
            traceback.print_exception(error)
    tell(outcome=outcome, detail=str(detail)[:400])


class Process:
    """A forked process with one input, watched from outside."""

    def __init__(self, area, number, seed, root, show):
        self.area, self.number, self.folder = area, number, root / f"{area}-{number}".replace(" ", "-")
        self.folder.mkdir()
        self.said, self.rest, self.killed, self.start = {}, b"", None, time.monotonic()
        self.pipe, end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                torch.set_num_threads(1)  # makes torch's pool anew, which several threads at once could not
                mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (mapped + 16 * 2**30,) * 2)  # the machine's memory is safe
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                if not show:
                    nowhere = os.open(os.devnull, os.O_RDWR)
                    for stream in (0, 1, 2):
                        os.dup2(nowhere, stream)
                attempt(
                    area,
                    number,
                    seed,
                    self.folder,
                    lambda **said: os.write(end, json.dumps(said).encode() + b"\n"),
                    show,
                )
            finally:
                os._exit(0)
        os.close(end)

    def look(self, readable):
        """True when the process has ended; one that goes beyond a limit is ended."""
        if readable and not (data := os.read(self.pipe, 65_536)):
            return True
        if readable:
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in lines:
                self.said |= json.loads(line)
                self.start = time.monotonic()
        late = time.monotonic() - self.start > SECONDS
        large = "bytes" in self.said and resident(self.pid) - self.said["bytes"] > BYTES
        if (late or large) and not self.killed:
            self.killed = "hang" if late else "flood"
            os.killpg(self.pid, signal.SIGKILL)
        return False

    def end(self):
        """``(area, number, what, outcome, detail)``"""
        os.close(self.pipe)
        _, status, usage = os.wait4(self.pid, 0)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what it may have started
        shutil.rmtree(self.folder, ignore_errors=True)
        outcome, detail = self.said.get("outcome"), self.said.get("detail", "")
        if self.killed:
            outcome, detail = self.killed, f"killed after {time.monotonic() - self.start:.0f} s"
        elif outcome is None:
            outcome, detail = "crash", f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {status}"
        taken = usage.ru_maxrss * 1024 - self.said.get("bytes", 0)
        if taken > BYTES and "bytes" in self.said:
            outcome, detail = "flood", f"{taken / 1e9:.1f} GB; {detail}"
        if "what" not in self.said and outcome != "broken":
            outcome, detail = "broken", f"{outcome} while the input was made: {detail}"
        return self.area, self.number, self.said.get("what", ""), outcome, detail


def tried(inputs, seed, jobs, root, show=False):
    """Yield what came of each of the inputs ``(area, number)``, ``jobs`` at a time."""
    waiting, running = list(reversed(inputs)), {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                process = Process(*waiting.pop(), seed, root, show)
                running[process.pipe] = process
            readable = select.select(list(running), [], [], 0.02)[0]
            for pipe, process in list(running.items()):
                if process.look(pipe in readable):
                    yield running.pop(pipe).end()
    finally:
        for process in running.values():  # interrupted
            os.killpg(process.pid, signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=5000, help="how many, shared among the areas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="AREA", help="areas; --inputs are shared among these")
    parser.add_argument("--again", nargs="+", metavar="AREA:NUMBER", help="repeat these inputs, with tracebacks")
    parser.add_argument("--list", action="store_true", help="name the areas")
    parser.add_argument("--all", action="store_true", help="name every input, not only the bad ones")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes at a time")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{name:16} {area.make.__doc__}" for name, area in AREAS.items()))
        return 0
    if unknown := set(asked.only or ()) - set(AREAS):
        parser.error(f"no area is called {', '.join(unknown)}; --list names them")
    weights = {name: area.weight for name, area in AREAS.items() if not asked.only or name in asked.only}
    share = asked.inputs / sum(weights.values())
    inputs = [(name, i) for name, weight in weights.items() for i in range(max(1, round(weight * share)))]
    if asked.again:
        inputs = [(name, int(number)) for name, _, number in (one.rpartition(":") for one in asked.again)]
    else:
        random.Random(asked.seed).shuffle(inputs)  # the slow areas among the quick ones
    start, found = time.monotonic(), []
    warm_up()
    try:
        with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as root:
            for one in tried(inputs, asked.seed, asked.jobs, Path(root).resolve(), bool(asked.again)):
                found.append(one)
                if asked.again or asked.all:
                    print("{}:{} {}: {} → {}".format(*one[:2], one[3], one[2], one[4]), flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    if not asked.again:
        report(found, asked.seed)
    print(f"{len(found):,} inputs, seed {asked.seed}, {time.monotonic() - start:.0f} s")
    return int(any(one[3] in FAILURES for one in found))


def report(found, seed):
    """Print what is bad, alike inputs once and the worst last, and a table of areas and outcomes."""
    bad = defaultdict(list)
    for area, number, what, outcome, detail in found:
        if outcome not in ("right", "clear error"):
            alike = detail.partition("[")[2] or " ".join(what.split()[:2])
            bad[OUTCOMES.index(outcome), area, alike].append((number, what, detail))
    for (place, area, _), rows in sorted(bad.items()):
        number, what, detail = min(rows)
        others = f"  ({len(rows) - 1} more alike)" if len(rows) > 1 else ""
        print(f"{OUTCOMES[place]}: --seed {seed} --again {f'{area}:{number}'!r}{others}\n    {what}\n    {detail}")
    counts = Counter((area, outcome) for area, _, _, outcome, _ in found)
    print(f"\n{'':16}" + "".join(f"{outcome:>12}" for outcome in OUTCOMES))
    for area in [*AREAS, "all"]:
        row = [
            sum(n for (name, x), n in counts.items() if area in (name, "all") and x == outcome) for outcome in OUTCOMES
        ]
        if any(row):
            print(f"{area:16}" + "".join(f"{n:12,}" for n in row))


if __name__ == "__main__":
    sys.exit(main())
