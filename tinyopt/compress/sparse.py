"""Sparse layers: pruned dense layers, multiplied without their zeros wherever that is faster.

Start with these three: `sparsify`, which puts them into a model; `nn.SparseLinear`, the layer; `codec.sparse`, the
layouts and products that it chooses from.
"""

from tinyopt import nn


def sparsify(model, batch_size=1, *, layout=None, block=None, skip=()):
    """Replace the pruned `Linear` layers of a model by `SparseLinear` ones, in place, and measure each.

    The parameters are handed on with all their views: outputs change by rounding only, and the file stays as small.
    A layer for which dense is faster multiplies dense; to be told so is worth the call.

    Units:  batch_size, the examples in a batch for which the layer is to be fast. layout=None measures; "csr",
            "bsr" or "dense" leave nothing to the clock. block, rows and columns: "bsr" takes part too.
            Returns {layer: {"layout": what it uses, "density": fraction *kept*, and the seconds of each}}.
    Raises: ValueError for a model without a pruned Linear layer inside, or `skip` that names none of its parts, or
            as `SparseLinear`.
    """
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in skip:
        model.get(name)  # raises, with the names there are
    pruned = {
        name: module
        for name, module in model.named_modules()
        if type(module) is nn.Linear and name and module.weight.view(nn.Mask) is not None
        and not any(f"{name}.weight".startswith(f"{s}.") or f"{name}.weight" == s for s in skip)
    }  # fmt: skip
    if not pruned:
        raise ValueError(f"this {type(model).__name__} holds no pruned Linear layer. Prune it first: "
                         "compress.prune(model, 0.9); a single layer goes into a Sequential")  # fmt: skip
    made, report = {}, {}  # a layer that stands in two places is replaced by one
    for name, layer in pruned.items():
        if id(layer) not in made:
            thin = sparse_linear(layer, layout=layout, block=block)
            seconds = thin.choose(batch_size) if layout is None else {}
            density = float((layer.weight.read().data != 0).mean())
            made[id(layer)] = thin, {"layout": thin.layout, "density": density, **seconds}
        thin, report[name] = made[id(layer)]
        model.replace(name, thin)
    return report


def sparse_linear(layer, *, layout=None, block=None):
    """A `SparseLinear` with the very parameters of a `Linear`, views included."""
    has_bias = layer.bias is not None
    thin = nn.SparseLinear(layer.in_features, layer.out_features, has_bias, layout, block, rng=0)
    thin.weight, thin.bias, thin.training = layer.weight, layer.bias, layer.training
    return thin
