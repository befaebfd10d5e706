"""Market maker: quotes around the mid, leans against its inventory, keeps its limit, steps back in a gap."""

from __future__ import annotations

import numpy as np
import pytest

from replay.events import BUY, SELL
from strategies.market_maker import MarketMaker
from tests.strategies.conftest import SECOND, START_US, Runner, Tape
