"""Modules made of modules, which a file can rebuild: `Sequential` and `Residual`."""

from tinyopt.nn.layers import Add, Identity
from tinyopt.nn.module import Module


class Sequential(Module):
    """Apply layers one after the other.

    `Sequential(Linear(4, 3), ReLU())` calls them 0, 1, ...; `Sequential(fc=Linear(4, 3))` names them.
    """

    def __init__(self, *layers, **named):
        self.layers = {**{str(i): layer for i, layer in enumerate(layers)}, **named}
        for name, layer in self.layers.items():
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential holds modules; {name!r} is a {type(layer).__name__}")

    def forward(self, x):
        for layer in self.layers.values():
            x = layer(x)
        return x

    def named_children(self):
        return iter(self.layers.items())  # so that a name is `fc.weight`, not `layers.fc.weight`

    def set_child(self, attribute, module):
        self.layers[attribute] = module

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers.values())

    def __getitem__(self, key):
        """A layer by position or name; for a slice, a `Sequential` of the same layers."""
        if isinstance(key, slice):
            return Sequential(**dict(list(self.layers.items())[key]))
        return list(self.layers.values())[key] if isinstance(key, int) else self.layers[key]


class Residual(Module):
    """y = body(x) + shortcut(x); the shortcut is the identity if none is given.

    Source: He, Zhang, Ren & Sun (2016), "Deep Residual Learning for Image Recognition", arXiv:1512.03385.
    """

    def __init__(self, body, shortcut=None):
        self.body, self.shortcut, self.add = body, shortcut or Identity(), Add()

    def forward(self, x):
        return self.add(self.body(x), self.shortcut(x))
