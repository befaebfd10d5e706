"""The slow, obvious twin of the simulated venue (`simulation.md` sections 1 to 9), in plain Python.

One heap holds everything that will happen, keyed `(time, phase, …)`: 0 local data, 1 answers, 2 venue data, 3 requests
at the venue, 4 timers.  Prices and sizes are integers, money is Fractions, queue estimates are floats with IEEE rules.
It takes nothing from `replay.kernel`, so that agreement between the two means something.

What the reference files taught (all 14 cases, every row):

* A book message is applied whole; then the queues of the orders whose level it names move once (p before, q after;
  p == q also counts and resets T), then the opposite best is compared once with every resting order.
* F = level, T = 0 at acceptance.  At a print: strictly through → filled; equal → F −= v, T += v, filled when
  −F rounds (halves away from zero) to a lot or more.  F may end below zero and stays there.
* log and log-2 see sizes (lots × lot), not lots: they are not scale free.
* P infinite counts as 1; a front that is no number becomes q.  ln below −1 is no number, not an error.
* Ties at the venue: (exch_ts, receipt ts, trade before book, rank, ordinal), in this order.
* Own orders never meet: "allow".  The default "cancel-newest" breaks both touch grids.
* A crossing post-only order is answered as rejected (status 2 in the files, one row); accept and fill of a crossing
  order are one row; an unknown-order answer makes no row.

Where the specification is silent, this oracle chooses:

* Refused locally: duplicate-id, off-lot (lots <= 0), warm-up, unknown-order (over as far as we know), pending,
  run-ended (after the last market event).
  The venue rejects, in this order: expired, book-invalid, below-min-notional, reduce-only, insufficient-margin,
  post-only-would-cross, self-trade.
* The first report about a request answers it; an execution on arrival is that answer, what follows answers nothing.
* FIFO of requests and of answers holds per instrument.  Feed latency is that of the last event received from it.
* Reports made by one market event: own asks before own bids, best price first, then order of acceptance.
* Best prices, crossing and rule 1 see levels less what we took of them ("consume"); a level that the venue names, or
  a snapshot, gives it back.  A GTC remainder is then filled in full when the venue restores the level that it took.
* Under "partial" a print gives an order floor(v − F) lots less what own earlier orders at that price got from it.
  Every F falls by the whole print, as the venue's own queue did.
* While the book is invalid deltas are ignored; prints fill by rules 2 and 3; any snapshot sets F = min(F, q), T = 0;
  then rule 1 holds again.  A held order's request stays unanswered until it is judged.
* Self-trade: an order meets own resting orders at or before its worst execution price, or its limit if some of it
  would rest.  cancel-newest: it trades at prices strictly before the first of them, the remainder is cancelled (or the
  order rejected when nothing traded; FOK trades nothing).  cancel-oldest: all that it meets are cancelled first.
  allow: own orders never meet.  Post-only is judged against the venue's book before that.
* Stops: buy when the watched price >= stop, sell when <=; touch is the opposite best (what we would trade with); mark
  falls back to mid, then last.  A stop whose condition holds on arrival triggers at once.  Triggered and released
  orders are judged in phase 3 of the same µs, after requests that were already due then.  Trailing: stop follows
  watched ± trail, whole ticks away from the market, and starts from the first watched price when none is given.
* modify: `lots` is the new total.  New total <= filled: cancelled.  A modify that the judge refuses ends the order with
  the judge's reason.  Waiting stops change without judgement; a new stop can be hit at once.
* Reduce-only is cut (its size too) to the position when accepted and again at each fill; nothing left to reduce:
  "expired".  Minimum notional of a market order is taken at the mark.
* IOC, FOK and market orders end for "no-liquidity", GTD for "expired".
* GTD expires in phase 3 of its µs.  Timers, expiries and settlements beyond the last market event never happen;
  requests under way still drain.
* Funding uses the last rate announced for that settlement and the venue's mark after the venue data of its µs.
* Books crossed after a whole message stay crossed.

* Slippage is reckoned for the size of the whole order at each level's price and rounded up to ticks; a sale still gets
  one tick.  Both ways of a log-normal latency draw from one generator an instrument, in the order of use.
* Maintenance is looked at when the instrument's own mark may have moved, after the stops, and counts all instruments of
  the currency.  The order that liquidates is sent by the venue to itself, pays taker and liquidation fee, meets no own
  order, and is known here as any other; while one is on its way there is no second.
* Options expire after the venue data of their µs; resting orders end first, bids before asks, then those that wait.

Not here: equity sampling, level-3 feeds.  Strategies side by side do not see each other: one simulation for each.
"""

from tests.oracles.venue.account import Account
from tests.oracles.venue.book import Book
from tests.oracles.venue.events import BookMessage, Event, Funding, Gap, Mark, Notice, Trade
from tests.oracles.venue.models import (
    QUEUES,
    Constant,
    FeedProportional,
    Fees,
    LogNormal,
    Market,
    Queue,
    Slippage,
    Table,
)
from tests.oracles.venue.orders import LocalOrder, Order, Report
from tests.oracles.venue.simulation import Driver, Simulation

__all__ = [
    "QUEUES", "Account", "Book", "BookMessage", "Constant", "Driver", "Event", "FeedProportional", "Fees", "Funding",
    "Gap", "LocalOrder", "LogNormal", "Mark", "Market", "Notice", "Order", "Queue", "Report", "Simulation", "Slippage",
    "Table", "Trade",
]  # fmt: skip
