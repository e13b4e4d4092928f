"""What stands where while a script is being written, and what can be done with it. One stage a script; not shared."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from train.tabletop.catalog import FIRST_FIXTURE, FIXTURES, OBJECTS, name_of
from train.tabletop.language import remark
from train.tabletop.motion import HOME_M, LEFT, REST, RIGHT, Placement, turn_about_z
from train.tabletop.record import NO_ITEM, Event, Script, Span

_ON_TOP_M = {"plate": 0.011, "yellow plate": 0.011, "cutting board": 0.0165}
_ROOM_INSIDE_M = {"basket": 0.060, "pink basket": 0.060, "wooden crate": 0.052, "white bin": 0.044}


@dataclass
class Stage:
    """A script, its chance, and the state of its world at the end of what has been written.

    standing: where each object is. settled: objects that stay where they are, in or on something. full: what has taken
    a thing in or on, as items or fixtures (numbered from FIRST_FIXTURE). states: how far fixtures are open or on.
    """

    script: Script
    rng: np.random.Generator
    standing: dict[int, Placement]
    states: dict[int, float]
    settled: set[int] = field(default_factory=set)
    full: set[int] = field(default_factory=set)

    # ---- what there is ---------------------------------------------------------------------------------------

    def free_items(self) -> list[int]:
        """Objects that a hand can take: on the table, with nothing in or on them."""
        return [item for item in self.script.items if item not in self.settled and item not in self.full]

    def holders_of(self, item: int) -> list[int]:
        """What an object can be put in or on now: items and fixtures (numbered from FIRST_FIXTURE)."""
        thing = OBJECTS[item]
        found = [
            other
            for other in self.script.items
            if other not in self.full | self.settled | {item} and self.spot(item, other) is not None
        ]
        for fixture, state in self.states.items():
            kind = FIXTURES[fixture]
            fits = kind.holds_m and thing.radius_m <= kind.holds_m[0] and thing.height_m <= kind.holds_m[1]
            is_suited = thing.name.endswith("moka pot") or thing.role == "dish" if kind.kind == "knob" else True
            is_ready = state > 0.5 or not kind.is_openable
            if fits and is_suited and is_ready and thing.grasp != "handle" and fixture + FIRST_FIXTURE not in self.full:
                found.append(fixture + FIRST_FIXTURE)
        return found

    def spot(self, item: int, holder: int) -> Placement | None:
        """Where in or on a holder an object comes to rest; None if it does not belong there."""
        thing, yaw_rad = OBJECTS[item], self.standing[item].yaw_rad
        if holder >= FIRST_FIXTURE:
            fixture, stand = FIXTURES[holder - FIRST_FIXTURE], self.script.motion.fixtures[holder - FIRST_FIXTURE]
            assert fixture.inside_m is not None
            point = stand.position() + turn_about_z(stand.yaw_rad) @ np.array(fixture.inside_m)
            carrier = holder - FIRST_FIXTURE if fixture.kind == "drawer" else None
            if thing.half_m is not None:  # a box goes in along, by the least turn
                turn_rad = stand.yaw_rad + np.pi / 2 - yaw_rad
                yaw_rad += (turn_rad + np.pi / 2) % np.pi - np.pi / 2
            return Placement(float(point[0]), float(point[1]), yaw_rad, float(point[2]), carrier, holder)
        other, stand = OBJECTS[holder], self.standing[holder]
        is_dish = thing.role == "dish" and "plate" not in thing.name
        if other.name in _ON_TOP_M and (is_dish or thing.role == "food") and thing.radius_m <= other.radius_m:
            height_m = _ON_TOP_M[other.name]
        elif other.role == "container" and thing.role and thing.role != "container":
            if thing.radius_m > _ROOM_INSIDE_M[other.name]:
                return None
            height_m = 0.012
        else:
            return None
        return Placement(stand.x_m, stand.y_m, yaw_rad, height_m, None, holder)

    def vessels(self, side: int, time_s: float) -> list[tuple[int, int]]:
        """Pairs of what a hand can pour from and what it can pour into, so that both are in sight."""
        targets = [
            item
            for item in self.script.items
            if OBJECTS[item].role == "dish"
            and "plate" not in OBJECTS[item].name
            and (self.standing[item].holder is None or self._is_on_top(item))
        ]
        sources = [item for item in self.free_items() if OBJECTS[item].role == "vessel"]
        return [
            (source, target)
            for source in sources
            for target in targets
            if self._is_pouring_in_sight(source, target, side, time_s)
        ]

    def _is_pouring_in_sight(self, source: int, target: int, side: int, time_s: float) -> bool:
        view = self.script.look.head.at(time_s)
        dish, high_m = self.standing[target].position(), OBJECTS[source].height_m
        tipped = dish + np.array([0.0, side * 0.47 * high_m, OBJECTS[target].height_m + 0.065 + 0.16 * high_m])
        spots = (view.project(dish), view.project(tipped))
        return all(0.08 < u < 0.92 and 0.04 < v < 0.96 for u, v, _ in spots)

    def _is_on_top(self, item: int) -> bool:
        holder = self.standing[item].holder
        return holder is not None and holder < FIRST_FIXTURE and OBJECTS[holder].name in _ON_TOP_M

    # ---- writing ---------------------------------------------------------------------------------------------

    def note(self, time_s: float, verb: str, thing: int, target: int | None = None) -> None:
        """Add an event, worded in the clip's manner. thing, target: items, or fixtures from FIRST_FIXTURE on."""
        words = remark(verb, name_of(thing), None if target is None else name_of(target), self.script.manner)
        self.script.events.append(Event(round(time_s, 2), verb, thing, words, target))

    def span(self, start_s: float, end_s: float, phase: int, thing: int = NO_ITEM, target: int = NO_ITEM) -> None:
        """Add what the hands are about between two times."""
        self.script.spans.append(Span(start_s, end_s, phase, thing, target))

    def rest_hands(self, time_s: float) -> None:
        """Both hands out of sight at the beginning."""
        for side in (RIGHT, LEFT):
            self.script.motion.hands[side].go(time_s, HOME_M, REST, 0.1)

    def mark(self) -> Mark:
        """What `undo` goes back to."""
        return Mark(self)

    def undo(self, mark: Mark) -> None:
        """Forget all that was written since the mark."""
        script, motion = self.script, self.script.motion
        del script.events[mark.events :], script.spans[mark.spans :]
        del motion.holds[mark.holds :], motion.moves[mark.moves :], motion.pours[mark.pours :]
        for side, length in mark.keys.items():
            track = motion.hands[side]
            del track.times_s[length:], track.poses[length:], track.arches_m[length:]
        self.standing, self.states = dict(mark.standing), dict(mark.states)
        self.settled, self.full = set(mark.settled), set(mark.full)


class Mark:
    """How much of a script was written at one moment, and how its world stood then."""

    def __init__(self, stage: Stage) -> None:
        script, motion = stage.script, stage.script.motion
        self.events, self.spans = len(script.events), len(script.spans)
        self.holds, self.moves, self.pours = len(motion.holds), len(motion.moves), len(motion.pours)
        self.keys = {side: len(track.times_s) for side, track in motion.hands.items()}
        self.standing, self.states = dict(stage.standing), dict(stage.states)
        self.settled, self.full = set(stage.settled), set(stage.full)
