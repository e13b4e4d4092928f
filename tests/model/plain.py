"""A stream without any cache, written to be obviously right: the yardstick for `model.stream.Stream`.

It keeps rows, one a position, and computes everything anew for each decision. `FreshRows` runs the decoder over the
kept rows alone (eviction "recompute"). `RememberedRows` computes each position once, as it comes, with plain arithmetic
on keys that were never rotated, and places them anew each time they are looked at (eviction "rotate").
"""

from dataclasses import replace

import torch
from torch import Tensor

from model.grammar import Cursor, Grammar
from model.stream import Decision, StreamOptions
from model.window import EVICTED_FRACTION


class FreshRows:
    """Logits of the last row by one uncached pass over all rows."""

    def __init__(self, decoder) -> None:
        self.decoder = decoder
        self.rows: list[Tensor] = []

    def add(self, row: Tensor) -> None:
        self.rows.append(row)

    def remove(self, start: int, stop: int) -> None:
        del self.rows[start:stop]

    @torch.no_grad()
    def logits(self) -> Tensor:
        return self.decoder(inputs_embeds=torch.stack(self.rows)[None], use_cache=False).logits[0, -1]

    def __len__(self) -> int:
        return len(self.rows)


class RememberedRows:
    """A Llama in plain arithmetic: per layer, the unrotated keys and the values of every row still kept."""

    def __init__(self, decoder) -> None:
        self.decoder = decoder
        self.inv_freq = decoder.model.rotary_emb.inv_freq
        self.keys: list[list[Tensor]] = [[] for _ in decoder.model.layers]
        self.values: list[list[Tensor]] = [[] for _ in decoder.model.layers]
        self.last = torch.empty(0)

    def remove(self, start: int, stop: int) -> None:
        for rows in (*self.keys, *self.values):
            del rows[start:stop]

    def __len__(self) -> int:
        return len(self.keys[0])

    def logits(self) -> Tensor:
        return self.last

    @torch.no_grad()
    def add(self, row: Tensor) -> None:
        model, width = self.decoder.model, self.decoder.config.head_dim
        hidden = row
        for index, layer in enumerate(model.layers):
            attention, normed = layer.self_attn, layer.input_layernorm(hidden)
            query = attention.q_proj(normed).view(-1, width)
            self.keys[index].append(attention.k_proj(normed).view(-1, width))
            self.values[index].append(attention.v_proj(normed).view(-1, width))
            keys, values = torch.stack(self.keys[index]), torch.stack(self.values[index])
            places = torch.arange(len(keys))
            group = len(query) // keys.shape[1]
            keys = self._turn(keys, places).repeat_interleave(group, dim=1)
            values = values.repeat_interleave(group, dim=1)
            query = self._turn(query[None], places[-1:])[0]
            weights = (torch.einsum("hd,thd->ht", query, keys) / width**0.5).softmax(-1)
            mixed = torch.einsum("ht,thd->hd", weights, values).flatten()
            hidden = hidden + attention.o_proj(mixed)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        self.last = self.decoder.lm_head(model.norm(hidden))

    def _turn(self, rows_THD: Tensor, places_T: Tensor) -> Tensor:
        angle = places_T[:, None, None] * self.inv_freq
        low, high = rows_THD.chunk(2, dim=-1)
        return torch.cat((low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()), dim=-1)


class PlainStream:
    """The same rules as `Stream`, one row at a time."""

    def __init__(self, decoder, grammar: Grammar, options: StreamOptions) -> None:
        self.embed = decoder.get_input_embeddings()
        self.grammar, self.options = grammar, options
        self.rows = RememberedRows(decoder) if options.eviction == "rotate" else FreshRows(decoder)
        self.cut_after: list[bool] = []
        """For each row, whether a frame ends there."""
        self.kept = 0
        self.cursor = Cursor()
        self.latest: Tensor | None = None

    def observe(self, frame: Tensor) -> Decision:
        if not self.kept and len(self.rows) > self.options.window_tokens // 2:
            self._forget()
        ids = self.grammar.before_frame(self.cursor)
        if self._make_room(len(ids) + len(frame)):
            ids = self.grammar.before_frame(self.cursor)
        self._add_ids(ids)
        for row in frame:
            self._add(row)
        self.cut_after[-1] = True
        self.kept = self.kept or len(self.rows)
        end = len(self.rows)
        self._add_ids(self.grammar.before_decision)
        self.latest = frame
        probs = self.rows.logits().softmax(-1)
        self.rows.remove(end, len(self.rows))
        del self.cut_after[end:]
        silence = float(probs[self.grammar.silence_id])
        is_silent = int(probs.argmax()) == self.grammar.silence_id and silence >= self.options.silence_threshold
        if self.grammar.spec.template == "proassist":
            is_silent = silence > self.options.silence_threshold
        probs[self.grammar.silence_id] = -1
        self.cursor = Cursor("frame", opening_id=int(probs.argmax()))
        return Decision(silence, not is_silent)

    def ask(self, text: str) -> None:
        self.cursor = replace(self.cursor, questions=(*self.cursor.questions, text))

    def reply(self, cut_after: int | None) -> list[int]:
        """Ids of the reply; broken off after `cut_after` of them, if given."""
        is_chat = self.grammar.spec.template == "proassist"
        if is_chat and self.cursor.questions and self.latest is not None:
            self.observe(self.latest)
        self._make_room(len(self.grammar.before_reply(self.cursor)) + self.options.max_reply_tokens + 1)
        unfed, ids = self.grammar.before_reply(self.cursor), []
        if not unfed:
            ids = [self.cursor.opening_id]
            unfed = ids[:]
        while len(ids) < self.options.max_reply_tokens and len(ids) != cut_after:
            self._add_ids(unfed)
            logits = self.rows.logits().clone()
            if is_chat and not ids:
                logits[self.grammar.eos_id] = -torch.inf
            ids.append(int(logits.argmax()))
            unfed = [] if ids[-1] == self.grammar.eos_id else ids[-1:]
            if not unfed:
                break
        self.cursor = self.grammar.after_reply(unfed)
        return ids

    def _make_room(self, count: int) -> bool:
        free = self.options.window_tokens - len(self.rows)
        if count <= free:
            return False
        wanted = max(count - free, int(self.options.window_tokens * EVICTED_FRACTION))
        cuts = [i + 1 for i, cut in enumerate(self.cut_after) if cut and i + 1 > self.kept]
        early = [cut for cut in cuts if cut - self.kept >= wanted]
        if early:
            self._remove(early[0])
        elif cuts and count - free <= cuts[-1] - self.kept:
            self._remove(cuts[-1])
        else:
            self._forget()
        return True

    def _forget(self) -> None:
        self._remove(len(self.rows))
        self.cursor = replace(self.cursor, place="frame" if self.kept else "system", pending_ids=())

    def _remove(self, stop: int) -> None:
        self.rows.remove(self.kept, stop)
        del self.cut_after[self.kept : stop]

    def _add_ids(self, ids: list[int]) -> None:
        with torch.no_grad():
            for row in self.embed(torch.tensor(ids, dtype=torch.long)):
                self._add(row)

    def _add(self, row: Tensor) -> None:
        self.rows.add(row)
        self.cut_after.append(False)
