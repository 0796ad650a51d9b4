"""A progress bar for what a command does, on a terminal alone."""

from tqdm import tqdm

tqdm.monitor_interval = 0  # else a thread of its own watches the bars


def progress_bar(total: int, unit: str) -> "tqdm[None]":
    """Return a bar to be used with `with`, whose `update` takes how many more are done; elsewhere it shows nothing."""
    return tqdm(total=total, unit=f" {unit}", disable=None, leave=False)
