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


def by_layer(weights, setting):
    """A setting for each weight: {parameter name: value}, from one value for all or from {layer or parameter: value}.

    A dictionary chooses: what it does not name is left out.

    Raises: ValueError if it names something else.
    """
    if not isinstance(setting, dict):
        return {name: setting for name in weights}
    unknown = [name for name in setting if name not in weights and f"{name}.weight" not in weights]
    if unknown:
        raise ValueError(f"no weight to compress is called {', '.join(unknown)}; there are {', '.join(weights)}")
    both = {name: setting.get(name, setting.get(name.rpartition(".")[0])) for name in weights}
    return {name: value for name, value in both.items() if value is not None}
