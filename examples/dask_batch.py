"""A batch on a Dask cluster: each shard is a task, and the driver gets each outcome as soon as it is known.

Run it from a checkout, with the extra `examples`; without `--scheduler` it starts a cluster on this machine::

    python examples/dask_batch.py ids.txt results --shards 8 --max-rate 200

It prints one line of JSON for each execution. The folder `results` gets a checkpoint for each shard. The driver and all
workers must find the folder and `ids.txt` under the same path, on a file system whose locks hold between machines. A
shard occupies a thread of a worker but hardly any CPU, so give each worker many threads.

If a worker is killed, Dask gives its shards to another one, which resumes them from their checkpoints. If the driver is
killed, run the same command again. It joins tasks that still run, and resumes the others. Executions whose
final state is on disk are not polled again. Exit codes, for a scheduler:

    0  every execution was verified and succeeded
    1  unexpected error: see the traceback
    2  wrong usage
    3  at least one execution has no final state yet: run the same command again
    4  all have one, and at least one did not succeed
"""

import argparse
import asyncio
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import SimpleQueue

from distributed import Client, Future, fire_and_forget, get_worker

from truebit_async import Execution, PollPolicy, TruebitSession
from truebit_async.checkpoint import Checkpoint, Record, latest, record_as_json
from truebit_async.sharding import Shard, shard_of

POLICY = PollPolicy(deadline=4 * 3600, max_consecutive_errors=100)


def read_ids(path: Path) -> list[str]:
    """Return each ID of a file once."""
    return list(dict.fromkeys(path.read_text(encoding="utf-8").split()))


# On a worker


def wait_for_shard(shard: Shard, ids_file: Path, directory: Path, max_rate: float, topic: str) -> None:
    """Wait for the executions of one shard. This is a task of Dask, in a thread of its own."""
    worker = get_worker()
    with Checkpoint(directory / shard.file_name, resume=True) as checkpoint:
        ids = [execution_id for execution_id in read_ids(ids_file) if execution_id in shard]
        pending = [execution_id for execution_id in ids if execution_id not in checkpoint.final]
        asyncio.run(wait_for_all(pending, checkpoint, max_rate, lambda message: worker.log_event(topic, message)))


async def wait_for_all(
    execution_ids: list[str], checkpoint: Checkpoint[Execution], max_rate: float, send: Callable[[bytes], None]
) -> None:
    """Wait for executions, write each outcome to the checkpoint, and send it to the driver if it is final."""
    # The session takes the API key from TRUEBIT_API_KEY in the environment of the worker. As an argument it would stand
    # in clear text in the task graph, which the scheduler keeps in memory and shows to every client.
    async with TruebitSession(policy=POLICY, max_rate=max_rate) as session:
        async for outcome in session.wait_for_verifications(execution_ids):
            checkpoint.write(outcome)  # first, since a worker can be killed between the two
            if outcome.execution is not None:  # others may become final if the shard has to be resumed
                record = Record(outcome.execution_id, outcome.execution, None, outcome.polls, outcome.elapsed)
                send(pickle.dumps(record))


# On the driver


def run_batch(
    client: Client, ids_file: Path, directory: Path, shard_count: int, max_rate: float
) -> Iterator[Record[Execution]]:
    """Run a batch on the cluster, and yield one record for each execution, in order of completion.

    Final states come as events of Dask. An event may get lost with its worker, and executions without a final state
    send none. So whatever has not come when a shard ends is read from its checkpoint.
    """
    topic = f"truebit-{directory}"
    arrivals: SimpleQueue[Record[Execution] | Future[None]] = SimpleQueue()
    client.subscribe_topic(topic, lambda event: arrivals.put(pickle.loads(event[1])))  # noqa: S301  # from our own workers
    running: dict[Future[None], Shard] = {}
    for shard in (Shard(index, shard_count) for index in range(shard_count)):
        arguments = (shard, ids_file, directory, max_rate / shard_count, topic)
        # The key is the same in each run, so that a task that still runs is joined and not started a second time.
        future = client.submit(wait_for_shard, *arguments, key=f"{topic}-{shard}")
        fire_and_forget(future)  # it goes on if the driver dies
        future.add_done_callback(arrivals.put)
        running[future] = shard

    missing: list[set[str]] = [set() for _ in running]  # the IDs of each shard that have not been yielded
    for execution_id in read_ids(ids_file):
        missing[shard_of(execution_id, shard_count)].add(execution_id)
    while running:
        records: Iterable[Record[Execution]]
        match arrivals.get():
            case Record() as record:
                records = [record]
            case Future() as future:
                shard = running.pop(future)
                if future.status != "finished":
                    print(f"shard {shard} has ended early: {future.exception()!r}", file=sys.stderr)
                checkpoint = directory / shard.file_name
                records = latest(checkpoint) if missing[shard.index] and checkpoint.exists() else ()
        for record in records:
            ids = missing[shard_of(record.execution_id, shard_count)]
            if record.execution_id in ids:  # the first time; a checkpoint may hold IDs of other lists too
                ids.remove(record.execution_id)
                yield record


def main() -> int:
    """Run the batch and return the exit code."""
    parser = argparse.ArgumentParser(description="Wait for the executions that a file lists, on a Dask cluster.")
    parser.add_argument("ids", type=Path, help="the file with the execution IDs")
    parser.add_argument("directory", type=Path, help="the folder for the checkpoints")
    parser.add_argument("--shards", type=int, default=8, help="how many tasks; keep it when you resume")
    parser.add_argument("--max-rate", type=float, default=50, help="requests per second, of all shards together")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="the scheduler of a cluster; by default, start one here")
    options = parser.parse_args()
    if not (options.shards >= 1 and options.max_rate > 0):
        parser.error("--shards and --max-rate must be above zero")
    try:
        ids_file, directory = options.ids.resolve(strict=True), options.directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        count = len(read_ids(ids_file))
    except (OSError, ValueError) as error:
        parser.error(str(error))

    local = {"n_workers": 2, "threads_per_worker": options.shards, "dashboard_address": None}
    ends = Counter(succeeded=0, failed=0, no_final_state=0)
    with Client(options.scheduler) if options.scheduler else Client(**local) as client:
        for record in run_batch(client, ids_file, directory, options.shards, options.max_rate):
            print(record_as_json(record), flush=True)
            if record.succeeded:
                ends["succeeded"] += 1
            else:
                ends["failed" if record.is_final else "no_final_state"] += 1
    print(dict(ends), file=sys.stderr)
    if ends["no_final_state"] or ends.total() < count:
        return 3
    return 4 if ends["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
