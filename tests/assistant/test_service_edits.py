"""An edit of the configuration takes effect while the daemon watches; one that is refused changes nothing."""

import threading
import time

from assistant.config.reload import ConfigFile
from assistant.config.settings import load_settings
from assistant.journal.reading import entries
from assistant.journal.thread import JournalThread
from assistant.mind.pacing import PolicyPacing
from assistant.mind.policy import Policy, PolicySettings
from assistant.sound.player import open_player
from assistant.voice.speaker import Voice
from tests.assistant.asker import KeepingAsker
from tests.assistant.camera import wait_for
from tests.assistant.watching_service import Running, Silent, running


def test_an_edit_takes_effect_and_a_mistake_does_not(camera, model, tmp_path):
    path = tmp_path / "config.toml"
    journal = JournalThread(tmp_path / "journal.db")

    def write(text: str) -> None:
        path.write_text(f'[capture]\nsource = "{camera.address}"\ntimeout_s = 2\n{text}')

    def reload(daemon: Running) -> KeepingAsker:
        heard = KeepingAsker()
        daemon.requests.reload(heard)
        assert heard.is_over.wait(5)
        return heard

    write("")
    file = ConfigFile(lambda: load_settings(path, environ={}), load_settings(path, environ={}), path)
    law = Policy(PolicySettings(), 0.5)
    policy = PolicyPacing(law, checkpoint_threshold=0.5)
    with running(camera, model, config_file=file, journal=journal, pacing=policy) as daemon:
        wait_for(lambda: daemon.service.facts()["frames"] > 5, 30)
        write("[stream]\nfps = 2\n[privacy]\njournal = true\n[policy]\ndo_not_disturb = true\n")
        wait_for(lambda: daemon.service.facts()["journal"], 2.5)
        wait_for(lambda: law.why_silent(0.0, 0.0) == "do not disturb", 2.5)
        wait_for(lambda: daemon.state("capture") == "ready", 10)
        before = daemon.service.facts()["frames"]
        time.sleep(3)
        assert 4 <= daemon.service.facts()["frames"] - before <= 9, "two a second, not ten"
        assert daemon.ask("What is it?").is_over.wait(20)
        wait_for(lambda: [entry.text for entry in entries(tmp_path / "journal.db")][:1] == ["What is it?"], 5)

        write("[stream]\nfps = 0\n")
        refused = reload(daemon)
        assert "fps = 0" in refused.failure
        assert daemon.state("config") == "failed"
        assert daemon.service.facts()["journal"], "the old values stay"

        write('[stream]\nwindow_tokens = 1500\n[model]\nweights = "int8"\n')
        done = reload(daemon)
        assert set(done.facts["changed"]) >= {"stream.window_tokens", "model.weights", "privacy.journal"}
        assert done.facts["at_next_start"] == ["model.weights"]
        facts = daemon.service.facts()
        assert (facts["parts"]["config"]["state"], facts["journal"], facts["restarts"]) == ("in effect", False, 0)
        assert "model.weights" in facts["parts"]["config"]["detail"]
        wait_for(lambda: daemon.service.facts()["frames"] > facts["frames"], 30)

        for text in ("[stream]\nfps = 0\n", '[model]\nweights = "int8"\n[policy]\nmin_gap_s = 9\n'):
            write(text)
            reload(daemon)
            detail = daemon.service.facts()["parts"]["config"]["detail"]
            assert "model.weights: at the next start" in detail, "until then"
    assert daemon.failure is None


def test_an_edit_that_is_refused_changes_nothing_not_even_the_journal(camera, model, tmp_path):
    path = tmp_path / "config.toml"
    (tmp_path / "file").touch()

    def write(text: str) -> None:
        path.write_text(f'[capture]\nsource = "{camera.address}"\ntimeout_s = 2\n[stream]\nfps = 10\n{text}')

    def open_voice(section, hush: threading.Event, _: object) -> Voice:
        return Voice([Silent()], open_player(section.output, None, hush, is_file=False, lossless=False), print)

    write('[voice]\noutput = "out.wav"\n')
    file = ConfigFile(lambda: load_settings(path, environ={}), load_settings(path, environ={}), path)
    journal = JournalThread(tmp_path / "journal.db")
    with running(
        camera, model, config=file._read().config, config_file=file, open_voice=open_voice, journal=journal
    ) as daemon:
        wait_for(lambda: daemon.state("voice") == "idle", 30)
        write(f'[voice]\noutput = "{tmp_path}/file/a.wav"\n[privacy]\njournal = true\n')
        wait_for(lambda: daemon.state("config") == "failed", 5)
        assert daemon.state("journal") == "off"
        assert not daemon.service.facts()["journal"]
        (tmp_path / "journal.db").mkdir()  # no journal can be written there
        write('[voice]\noutput = "other.wav"\n[privacy]\njournal = true\n')
        wait_for(lambda: "journal.db" in daemon.service.facts()["parts"]["config"]["detail"], 5)
        assert daemon.state("journal") == "off"
        assert daemon.service.facts()["parts"]["voice"]["detail"] == "out.wav"
        assert daemon.state("voice") == "idle"
