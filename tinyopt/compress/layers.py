"""Which parameters a technique works on."""


def chosen_weights(model, skip=()):
    """The weights of a model that compression is for: {name: parameter}, those with two axes or more.

    Biases and the scales of norms are few, and left as they are. `skip` protects layers or
    parameters by name.

    Raises: ValueError if `skip` names something unknown, or nothing is left.
    """
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in skip:
        model.get(name)  # raises, with the names there are
    weights = {
        name: parameter
        for name, parameter in model.named_parameters()
        if len(parameter.shape) >= 2 and not any(name == s or name.startswith(f"{s}.") for s in skip)
    }
    if not weights:
        skipped = ", ".join(skip) or "none"
        raise ValueError(f"this {type(model).__name__} has no weight matrix or filter to compress (skipped: {skipped})")
    return weights
