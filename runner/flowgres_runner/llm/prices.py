"""What a call cost, by the table in the setting llm_prices: {model: {input, output, currency}}, per million tokens.

No price is known here: they change, and differ by contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, DecimalException
from typing import Any

from flowgres_runner.json_values import Json
from flowgres_runner.llm.conversation import Usage

_PER = Decimal(1_000_000)


def cost_of(usage: Usage, models: Iterable[str], prices: Mapping[str, Any]) -> Json:
    """{amount, currency} by the first of these names of the model that has a price; None when none has."""
    for model in models:
        price = prices.get(model)
        if not isinstance(price, Mapping) or not {"input", "output"} <= price.keys():
            continue
        try:
            amount = (
                Decimal(str(price["input"])) * usage.input_tokens + Decimal(str(price["output"])) * usage.output_tokens
            ) / _PER
            return {"amount": float(round(amount, 9)), "currency": str(price.get("currency", "USD"))}
        except (DecimalException, ArithmeticError, ValueError):
            return None  # numbers of a server that no call costs
    return None
