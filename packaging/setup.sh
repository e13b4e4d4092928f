#!/usr/bin/env bash
# Sets up .venv in the repository's root with the project and the extras named: packaging/setup.sh [EXTRA...]
# Exact versions come from requirements.lock. System libraries are installed when this runs as root on Debian or
# Ubuntu; otherwise the one line to type is printed. Runs again at no cost but pip's own look.
set -euo pipefail
cd "$(dirname "$0")/.."

has_library() {
    ldconfig -p 2>/dev/null | grep -q "$1" || [ -n "$(find /usr/lib /lib -maxdepth 3 -name "$1*" -print -quit 2>/dev/null)" ]
}

fits() { # is this a Python that the project runs on?
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "setup: Python 3.11, 3.12 or 3.13 is needed and none was found; install one, or name it: make PYTHON=/path/to/python" >&2
    exit 3
}

system_packages() { # Debian package names of what is missing
    has_library libGL.so.1 || echo libgl1               # opencv
    has_library libgthread-2.0.so.0 || echo libglib2.0-0 # opencv
    has_library libportaudio.so.2 || echo libportaudio2  # sound out
    has_library libespeak-ng.so.1 || echo libespeak-ng1  # the default voice
    command -v espeak-ng >/dev/null || echo espeak-ng    # the second voice
    "$1" -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
    case " ${extras[*]} " in
        *" test "*) test_packages ;;
    esac
}

test_packages() { # cameras and sound cards without hardware, and a tokenizer to test with
    command -v npm >/dev/null || echo npm
    command -v ffmpeg >/dev/null || echo ffmpeg
    command -v dbus-run-session >/dev/null || echo dbus dbus-daemon
    command -v wireplumber >/dev/null || echo pipewire wireplumber
    command -v pipewire-pulse >/dev/null || echo pipewire-pulse
    command -v pactl >/dev/null || echo pulseaudio-utils
    [ -n "$(find /usr/lib -name libasound_module_pcm_pulse.so -print -quit)" ] || echo libasound2-plugins
    command -v pw-v4l2 >/dev/null || echo pipewire-v4l2
    command -v gst-launch-1.0 >/dev/null || echo gstreamer1.0-tools
    [ -n "$(find /usr/lib -name libgstpipewire.so -print -quit)" ] || echo gstreamer1.0-pipewire
    [ -n "$(find /usr/lib -name libgstx264.so -print -quit)" ] || echo gstreamer1.0-plugins-ugly
    [ -n "$(find /usr/lib -name libgstrtp.so -print -quit)" ] || echo gstreamer1.0-plugins-good
    [ -n "$(find /usr/lib -name 'GstRtspServer-1.0.typelib' -print -quit)" ] || echo gir1.2-gst-rtsp-server-1.0
    command -v Xvfb >/dev/null || echo xvfb
    command -v xsetroot >/dev/null || echo x11-xserver-utils
    /usr/bin/python3 -c 'import gi' 2>/dev/null || echo python3-gi
    /usr/bin/python3 -c 'import dbusmock' 2>/dev/null || echo python3-dbusmock
    command -v gdbus >/dev/null || echo libglib2.0-bin
}

extras=("$@")
python=$(find_python)
missing=$(system_packages "$python" | tr '\n' ' ')
if [ -n "$missing" ]; then
    line="apt-get install -y --no-install-recommends $missing"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing system packages: $missing"
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive $line
    else
        echo "setup: these system packages are missing (Debian's names): $missing" >&2
        echo "setup: on Debian or Ubuntu type:  sudo $line" >&2
        case " $missing" in
            *" python3-venv "* | *" libgl1 "* | *" libglib2.0-0 "*) exit 3 ;;
        esac
        echo "setup: going on without them; speech may be missing" >&2
    fi
fi

if [ -x .venv/bin/python ] && ! fits .venv/bin/python; then
    echo "setup: .venv is made with a Python that does not fit; making it anew"
    rm -rf .venv
fi
[ -x .venv/bin/pip ] || "$python" -m venv .venv

names=$(IFS=,; echo "$*")
echo "setup: installing the project${names:+ with $names} into .venv (torch alone is several GB; the first time takes minutes)"
.venv/bin/python -m pip install --disable-pip-version-check --constraint requirements.lock --editable ".${names:+[$names]}"
