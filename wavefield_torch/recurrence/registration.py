"""Registration of a fused operator with PyTorch, so that autograd, compilers, export and `torch.vmap` know it.

An operator ``wavefield::NAME`` returns its results and `saved`, which its backward pass needs; its gradients are
another operator, ``wavefield::NAME_backward``. They are defined and implemented one by one: `torch.library.custom_op`
would import the compiler at the first call (150 MB).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch

logger = logging.getLogger(__name__)


@functools.cache
def say_once(text: str) -> None:
    """Log a warning, once in a process."""
    logger.warning(text)


def register(
    name: str,
    tensors: str,
    others: str,
    results: int,
    *,
    devices: tuple[str, ...],
    forward: Callable,
    shapes: Callable,
    backward: Callable,
    plain: Callable,
    called: str = "wave_scan",
) -> None:
    """Define an operator and its backward pass.

    Parameters
    ----------
    name : str
    tensors, others : str
        Arguments in the notation of operator schemas: the tensors with a gradient, and all others. The last of these is
        ``bool fallback``: whether `plain` is used where the fused backward pass cannot be, in second derivatives.
    results : int
        Number of results, all of which have a gradient.
    devices : tuple of str
        Devices on which `forward` and `backward` run.
    forward(*arguments) → (*results, saved)
    shapes(*arguments) → (*results, saved)
        The same without values, for tracing.
    backward(grads, saved, *arguments, needs) → gradients of the tensors, None where not in `needs`
        Of `grads`, one for each result, those that the loss does not depend on are None.
    plain(*arguments) → results
        Out of PyTorch's own operations.
    called : str
        The function that users call, for messages.
    """
    count = tensors.count("Tensor ")
    arguments = f"{tensors}, {others}"
    own = f"wavefield::{name}"
    torch.library.define(own, f"({arguments}) -> ({', '.join(['Tensor'] * (results + 1))})")
    torch.library.impl(own, devices, forward)
    torch.library.register_fake(own, shapes)

    given = ", ".join(f"Tensor? grad_{i}" for i in range(results))
    back = f"{own}_backward"
    torch.library.define(back, f"({given}, Tensor saved, {arguments}, bool[] needs) -> Tensor[]")

    def gradients(*values):
        grads, (saved, *rest, needs) = values[:results], values[results:]
        found = backward(grads, saved, *rest, needs)
        return [rest[0].new_empty(0) if gradient is None else gradient for gradient in found]

    def gradient_shapes(*values):
        *values, needs = values[results + 1 :]
        return [t.new_empty(t.shape if need else 0) for t, need in zip(values[:count], needs, strict=True)]

    torch.library.impl(back, devices, gradients)
    torch.library.register_fake(back, gradient_shapes)

    def remember(ctx, inputs, output):
        ctx.set_materialize_grads(False)  # no zeros for what the loss does not depend on, nor for `saved`
        optional = [value for value in inputs[count:] if isinstance(value, torch.Tensor)]
        ctx.save_for_backward(output[-1], *inputs[:count], *optional)
        ctx.others = [None if isinstance(value, torch.Tensor) else (value,) for value in inputs[count:]]

    def differentiate(ctx, *grads):
        grads, needs = grads[:results], list(ctx.needs_input_grad[:count])
        if all(grad is None for grad in grads):
            return (None,) * (count + len(ctx.others))
        saved, *kept = ctx.saved_tensors
        optional = iter(kept[count:])
        values = [*kept[:count], *(next(optional) if value is None else value[0] for value in ctx.others)]
        again, batched = torch.is_grad_enabled(), any(map(_is_batched, grads))
        if batched and not values[-1]:
            raise RuntimeError(f"{called}: fused backends take one gradient at a time; backend='reference' takes many")
        if (again or batched) and values[-1]:
            say_once(f"{called}: {'second derivatives' if again else 'batched gradients'} run the reference backend")
            found = _gradients_of(plain, grads, values, needs, create_graph=again)
        else:
            found = getattr(torch.ops.wavefield, f"{name}_backward")(*grads, saved, *values, needs)
        found = [gradient if need else None for gradient, need in zip(found, needs, strict=True)]
        return *found, *(None for _ in ctx.others)

    torch.library.register_autograd(own, differentiate, setup_context=remember)
    torch.library.register_autograd(back, functools.partial(_refuse, called))
    torch.library.register_vmap(back, functools.partial(_one_by_one, back))


def _is_batched(grad):
    """Whether this is one of many gradients, as of ``autograd.grad(is_grads_batched=True)``."""
    return grad is not None and torch._C._functorch.is_legacy_batchedtensor(grad)


def _gradients_of(plain, grads, values, needs, *, create_graph):
    """The gradients by plain PyTorch, which can be batched and differentiated again."""
    wanted = [value for value, need in zip(values, needs, strict=False) if need]
    with torch.enable_grad():
        results = plain(*values)
        seen = [(result, grad) for result, grad in zip(results, grads, strict=True) if grad is not None]
        outputs, given = zip(*seen, strict=True)
        found = iter(torch.autograd.grad(outputs, wanted, given, create_graph=create_graph, allow_unused=True))
    return [next(found) if need else None for need in needs]


def _refuse(called, ctx, *_):
    """Refuse to differentiate a fused backward pass again."""
    raise RuntimeError(f"{called}: fused backends are differentiable once; backend='reference' has second derivatives")


def _one_by_one(name, info, in_dims, *arguments):
    """Under `torch.vmap`, as for a Jacobian: the backward pass of each of several gradients in turn."""
    operator = getattr(torch.ops.wavefield, name.partition("::")[2])
    each = []
    for i in range(info.batch_size):
        chosen = (a.select(d, i) if isinstance(d, int) else a for a, d in zip(arguments, in_dims, strict=True))
        each.append(operator(*chosen))
    stacked = [torch.stack(parts) for parts in zip(*each, strict=True)]
    return stacked, [0] * len(stacked)
