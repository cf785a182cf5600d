"""Tied layers: one parameter at several places of a model.

Start with these three: `tie`; `nn.tied.Repeat`; `nn.tied.Embedding`. Of the ways to share weights it is the plainest: θ = A c, where A is one identity matrix below the
other, so that Aᵀ g is the sum of the gradients at all places, and (Aᵀ A)⁻¹ Aᵀ θ is the mean of the weights there.

    tie(model, "embed.weight", "head.weight")       input and output embedding
    tie(model, "block1", "block2", "block3")        one block, three times

The places keep their names: what `named_parameters`, an optimizer and a file see is the first.
"""

import numpy as np

from tinyopt.nn.tied import places


def tie(model, *names, start="mean"):
    """Let layers, or parameters, of one shape have one set of weights, in place. Make the optimizer after that.

    Norms keep running averages of their own, since what reaches them differs from place to place.

    Shapes: names, of parameters of one shape, or of layers whose parameters are alike in names and shapes.
    Units:  returns how many numbers fewer there are to train and to save.
    Start:  "mean": c = (θ₁ + … + θ_n) / n, the nearest to what was there; "first": c = θ₁.
    Raises: ValueError for fewer than two names, or equal ones, shapes or parts that differ, weights that are masked,
            rounded or shared by a codebook already; KeyError, with the names there are, for an unknown one.
    Source: Press & Wolf (2017), "Using the Output Embedding to Improve Language Models", arXiv:1608.05859, and Inan,
            Khosravi & Socher (2017), "Tying Word Vectors and Word Classifiers", arXiv:1611.01462 (embeddings); Lan
            et al. (2020), "ALBERT", arXiv:1909.11942, Section 3.1 (blocks).
    """
    if start not in ("mean", "first"):
        raise ValueError(f"start is 'mean' or 'first'; got {start!r}")
    if len(set(names)) < max(2, len(names)):
        raise ValueError(f"tie takes two or more different names; got {', '.join(map(repr, names)) or 'none'}")
    known, before = places(model), sum(parameter.size for parameter in model.parameters())
    parts = [_parts(model, known, name) for name in names]
    for name, other in zip(names[1:], parts[1:]):
        mine, theirs = ({part: parameter.shape for part, (*_, parameter) in p.items()} for p in (parts[0], other))
        if mine != theirs:
            raise ValueError(f"tied layers have the same parameters: {names[0]} has {mine}, {name} has {theirs}")
    for part, (_, _, first) in parts[0].items():
        group = [other[part] for other in parts]
        if start == "mean":
            first.data = np.stack([parameter.data for *_, parameter in group]).mean(axis=0)
        for module, attribute, parameter in known.values():  # also places that were tied to one of these before
            if any(parameter is other for *_, other in group):
                setattr(module, attribute, first)
    return before - sum(parameter.size for parameter in model.parameters())


def _parts(model, known, name):
    """The places in a layer, or the one of a parameter: {name inside: (module, attribute, parameter)}."""
    parts = {n[len(name) :]: place for n, place in known.items() if n == name or n.startswith(f"{name}.")}
    if not parts:
        model.get(name)  # raises, with the names there are
        raise ValueError(f"{name} has no parameters to tie")
    for part, (_, _, parameter) in parts.items():
        if parameter.views:
            view = type(parameter.views[0]).__name__
            raise ValueError(f"tie first, compress then: {name}{part} is read through a {view} already. bake() it first")
    return parts
