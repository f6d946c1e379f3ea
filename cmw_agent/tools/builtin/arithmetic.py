"""Evaluates arithmetic expressions from their syntax tree, without `eval` and at bounded cost."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from langchain_core.tools import ToolException, tool

Number = int | float

MAX_CHARACTERS = 500
MAX_BITS = 4096  # of an intermediate integer: about 1,200 decimal digits
MAX_DIGITS = 1_300  # argument of round(): more digits than `MAX_BITS` or a float can hold
MAX_DEPTH = 50

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Number]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def _rounded(number: Number, *digits: int) -> Number:
    # round() computes 10 ** -digits first; beyond `MAX_DIGITS` its result does not change.
    return round(number, *(max(-MAX_DIGITS, min(MAX_DIGITS, count)) for count in digits))


_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "abs": abs,
    "round": _rounded,
    "sqrt": math.sqrt,
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "floor": math.floor,
    "ceil": math.ceil,
    "min": min,
    "max": max,
}
_CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e}


def evaluate(expression: str) -> Number:
    """Return the value of an arithmetic `expression` in Python's notation.

    ``^`` means a power, as people write it.

    Raises:
        ValueError: The expression is not arithmetic, too large, or has no value.
    """
    if len(expression) > MAX_CHARACTERS:
        raise ValueError(f"the expression is longer than {MAX_CHARACTERS} characters")
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
        return _value(tree.body, 0)
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except (OverflowError, TypeError) as error:
        raise ValueError(str(error)) from None
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError("this is not an arithmetic expression") from None


def _value(node: ast.expr, depth: int) -> Number:
    if depth > MAX_DEPTH:
        raise ValueError("the expression is nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand, depth + 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _binary(type(op), _value(left, depth + 1), _value(right, depth + 1))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*(_value(arg, depth + 1) for arg in args)))
    raise ValueError("only numbers, + - * / // % **, brackets and common functions are allowed")


def _binary(kind: type[ast.operator], left: Number, right: Number) -> Number:
    # Checked before the computation: 9**9**9 would use up all memory.
    if kind is ast.Pow and _bits(left) * right > MAX_BITS:
        raise ValueError("the result is too large")
    return _bounded(_BINARY[kind](left, right))


def _bits(number: Number) -> int:
    return abs(number).bit_length() if isinstance(number, int) else 0


def _bounded(number: Number) -> Number:
    if isinstance(number, complex):
        raise ValueError("the result is not a real number")  # noqa: TRY004 (a value, not a type)
    if isinstance(number, int) and number.bit_length() > MAX_BITS:
        raise ValueError("the result is too large")
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError("the result is not a finite number")
    return number


@tool
async def calculate(expression: str) -> str:
    """Calculate an arithmetic expression exactly and return its value.

    Args:
        expression: Numbers with + - * / // % ** and brackets; also abs, round, sqrt,
            log, log10, exp, sin, cos, tan, floor, ceil, min, max, pi and e.
    """
    try:
        value = evaluate(expression)
    except ValueError as error:
        raise ToolException(f"This cannot be calculated: {error}.") from error
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)
