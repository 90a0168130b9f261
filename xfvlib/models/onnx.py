"""Recognisers in ONNX files: a black box through onnxruntime, or differentiable where a converter is installed."""

import hashlib
import warnings
from os import PathLike

import torch
from torch import Tensor, nn

from xfvlib.extras import extra, reworded
from xfvlib.models.checkpoints import existing_file

_TYPES = {f"tensor({name})": getattr(torch, name) for name in ("float", "float16", "double", "uint8")}


def _in_batches(run, x, count):
    """``run`` on all rows of ``x``, or on batches of exactly ``count``, the last one filled up with its last row."""
    if count is None:
        return run(x)
    filled = torch.cat([x, x[-1:].expand(-len(x) % count, *x.shape[1:])])
    return torch.cat([run(rows) for rows in filled.split(count)])[: len(x)]


class OnnxNetwork(nn.Module):
    """An ONNX file as a module without gradients: its input's layout, type and batch size are read from the file.

    Weights in files of their own are found beside it. Pixels for a uint8 input are rounded to 0..255.

    Raises:
        FileNotFoundError: no such file.
        ImportError: onnx or onnxruntime is not installed.
        ValueError: not an ONNX file, or its input is not one batch of images with three channels.
    """

    def __init__(self, path: str | PathLike) -> None:
        super().__init__()
        path = self.path = existing_file(path).resolve()
        with extra("onnx"):  # here, since only users of ONNX files wait for them
            import onnx
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
        with reworded(Exception, ValueError, f"{path.name} cannot be read as an ONNX network"):
            self.session = onnxruntime.InferenceSession(str(path), options, onnxruntime.get_available_providers())
            tensors = onnx.load(path, load_external_data=False).graph.initializer
        beside = {path.parent / x.value for tensor in tensors for x in tensor.external_data if x.key == "location"}
        self.hash = hashlib.sha256(b"".join(file.read_bytes() for file in (path, *sorted(beside)))).hexdigest()
        inputs = self.session.get_inputs()
        shape = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape] if inputs else []
        # the axis of the channels, and what the file says of it
        axes = [axis for axis, count in ((1, 3), (3, 3), (1, None)) if len(shape) == 4 and shape[axis] == count]
        if len(inputs) != 1 or not axes or inputs[0].type not in _TYPES or (shape[0] or 1) > 1024:
            given = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "nothing"
            raise ValueError(f"{path.name} takes {given}; one input of images (B, 3, H, W) or (B, H, W, 3) is needed")
        self.input, self.pixel_type = inputs[0].name, _TYPES[inputs[0].type]
        self.batch, self.channel_axis = shape[0], axes[0]
        # a side left open: the field's usual size
        self.size = tuple(side or 112 for side in (shape[1:3] if self.channel_axis == 3 else shape[2:]))

    def __reduce__(self):
        return OnnxNetwork, (self.path,)  # a session cannot be pickled; another process reads the file again

    def extra_repr(self):
        return f"sha256={self.hash}"

    def _run(self, rows: Tensor) -> Tensor:
        output = torch.from_numpy(self.session.run(None, {self.input: rows.numpy()})[0])
        output = output[None] if output.dim() == 1 and len(rows) == 1 else output
        return output.flatten(1) if output.dim() > 2 and output.shape[2:].numel() == 1 else output

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.detach().cpu().movedim(1, self.channel_axis)
        pixels = pixels.round().clamp(0, 255) if self.pixel_type == torch.uint8 else pixels
        return _in_batches(self._run, pixels.to(self.pixel_type).contiguous(), self.batch).to(x.device)


class Converted(nn.Module):
    """A converted network, run on batches of the size that its file was exported for."""

    def __init__(self, network: nn.Module, batch: int | None) -> None:
        super().__init__()
        self.network, self.batch = network, batch

    def forward(self, x: Tensor) -> Tensor:
        return _in_batches(lambda rows: self.network(rows).flatten(1), x, self.batch)


def load_network(path: str | PathLike) -> tuple[nn.Module, dict]:
    """``(network, known)``: differentiable where onnx2torch is installed and can convert the file, else a black box."""
    box = OnnxNetwork(path)
    of_bytes = {"mean": 0, "std": 1 / 255} if box.pixel_type == torch.uint8 else {}  # from FaceModel's pixels in [0, 1]
    known = {"name": box.path.stem, "size": box.size} | of_bytes
    try:
        from onnx2torch import convert

        images = torch.rand(2, 3, *box.size, generator=torch.Generator().manual_seed(0))
        network = Converted(convert(str(box.path)).eval(), box.batch)
        expected, found = box(images), network(images)
        if torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
            return network, known
        raise ValueError(f"its outputs differ from onnxruntime's by up to {(found - expected).abs().max():.3g}")
    except ImportError:  # no converter, no gradients
        pass
    except Exception as error:  # it does not know every layer, nor every batch size
        warnings.warn(f"{box.path.name} could not be converted to PyTorch ({error}): it has no gradients", stacklevel=4)
    return box, known
