"""The model zoo of the package frbench, when it is installed."""

from torch import nn

from xfvlib.extras import extra


def load_network(key: str) -> tuple[nn.Module, dict]:
    """``(network, known)`` for a key "backbone/loss/data" of frbench's zoo, such as "irse-50/arcface/ms1m".

    frbench fetches the weights from its own release page the first time, and keeps them.

    Raises:
        ImportError: frbench is not installed.
        ValueError: the key has not three parts, frbench does not know it, or could not fetch its weights.
    """
    with extra("frbench"):
        import frbench
    parts = key.split("/")
    if len(parts) != 3:
        raise ValueError(f"{key!r} must be backbone/loss/data, such as 'irse-50/arcface/ms1m'")
    try:
        zoo = frbench.FR(*parts, eager_load=True)
    except (KeyError, ValueError, frbench.FRBenchError) as error:
        raise ValueError(f"frbench gives no model {key!r}: {error}") from error
    made = zoo.preprocessor
    known = {"size": tuple(zoo.input_size), "mean": made.mean, "std": made.std, "channels": made.channel}
    return zoo.backbone, known
