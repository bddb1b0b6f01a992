"""A CUDA graph without CUDA: it notes the operators of a step with the tensors that they read and fill, and does them
again. Whatever Python worked out stays as it was, as it does on a GPU; a value that is asked for is an error."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ASKS = {torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal}


class Recorded(TorchDispatchMode):
    """In place of `capture.CudaGraph`. What is noted does happen at once, so the first replay is left out."""

    def __init__(self):
        super().__init__()
        self.calls, self.warmed, self.replays, self.waited = [], 0, -1, False

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function.overloadpacket in ASKS:
            self.waited = True
            if self.warmed == "capturing":
                raise RuntimeError("operation not permitted when stream is capturing\nand more that nobody reads")
        result = function(*arguments, **(options or {}))
        if self.warmed == "capturing":
            self.calls.append((function, arguments, options or {}, result))
        return result

    def warm_up(self, step):
        self.warmed += 1
        self.waited = False
        with self:
            step()
        return self.waited

    def capture(self, step):
        self.warmed = "capturing"
        with self:
            step()

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for function, arguments, options, before in self.calls if self.replays else ():
            now = function(*arguments, **options)
            for old, new in zip(tensors(before), tensors(now), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def tensors(result):
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
