"""Weights of 8 bits for an ONNX graph: which of them, and how.

    to_8_bits(folder / "text.onnx")

Linear layers get a scale for each output, tables of embeddings one for each row. Activations get
8 bits when the graph runs, with one scale for all.

The second layer of a feed-forward block, which has more inputs than outputs, keeps 32 bits: a few
of its inputs are far larger than the others. `benchmarks/int8_layers.py` compares the choices.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from .extras import needed

__all__ = ["LINEAR", "to_8_bits"]

LEAST_TABLE = 2**10
"""Numbers of a table of embeddings that gets 8 bits, at least."""

LINEAR = ("wide", "narrow")
"""Kinds of linear layers: at least as many outputs as inputs, and fewer."""


def to_8_bits(path: Path, linear: Collection[str] = ("wide",), spare_bit: bool = True) -> None:
    """Replace a graph by one with weights of 8 bits.

    Args:
        path: of the graph.
        linear: the kinds of linear layers (`LINEAR`) that get 8 bits; embeddings always do.
        spare_bit: give weights of linear layers 7 of their bits: without VNNI instructions a
            processor cuts the sum of two products of 8 bits to 16 bits.

    Raises:
        MissingExtraError: if `onnx` or `onnxruntime` is not installed.
    """
    onnx, quantisation = needed("onnx", "onnx"), needed("onnxruntime.quantization", "onnx")
    model = onnx.load(path)
    _tables_to_8_bits(onnx, model.graph)
    sizes = {one.name: tuple(one.dims) for one in model.graph.initializer}
    left_out = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and len(size := sizes.get(node.input[1], ())) == 2
        and ("narrow" if size[0] > size[1] else "wide") not in linear
    ]
    whole = path.with_suffix(".float.onnx")
    onnx.save(model, whole)
    quantisation.quantize_dynamic(
        whole,
        path,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=left_out,
        per_channel=True,
        reduce_range=spare_bit,
    )
    whole.unlink()


def _tables_to_8_bits(onnx: Any, graph: Any) -> None:
    """Replace each lookup of rows in a large table by that of 8-bit rows and of their scales."""
    tables = {one.name: one for one in graph.initializer}
    nodes = []
    for node in graph.node:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or len(table.dims) != 2 or math.prod(table.dims) < LEAST_TABLE:
            nodes.append(node)
            continue
        values = onnx.numpy_helper.to_array(table)
        scale = np.maximum(np.abs(values).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)
        small = np.rint(values / scale).astype(np.int8)
        name, numbers, output = table.name, node.input[1], node.output[0]
        graph.initializer.remove(table)
        for part, content in (("rows", small), ("scale", scale)):
            made = onnx.numpy_helper.from_array(content, f"{name}.{part}")
            graph.initializer.append(made)
        make = onnx.helper.make_node
        nodes += [
            make("Gather", [f"{name}.rows", numbers], [f"{output}.rows"]),
            make("Cast", [f"{output}.rows"], [f"{output}.float"], to=onnx.TensorProto.FLOAT),
            make("Gather", [f"{name}.scale", numbers], [f"{output}.scale"]),
            make("Mul", [f"{output}.float", f"{output}.scale"], [output]),
        ]
    del graph.node[:]
    graph.node.extend(nodes)
