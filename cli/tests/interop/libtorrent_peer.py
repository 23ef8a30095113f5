"""One libtorrent peer. The only argument is a JSON object:

    {"torrent": FILE, "data": DIR, "listen": "HOST:PORT", "peers": ["HOST:PORT", ...]}

Prints one JSON object per line: {"event": "ready"} before it adds the torrent, then for each change
{"event": "state", "state": "busy" | "downloading" | "complete", "progress": 0..1}. It ends when
standard input is closed. With --version it prints the version and ends.
"""
import json
import sys
import threading

import libtorrent as lt

# A swarm on loopback has one address for all and no Internet.
SETTINGS = {
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "allow_multiple_connections_per_ip": True, "announce_to_all_trackers": True, "announce_to_all_tiers": True,
    "ssrf_mitigation": False, "validate_https_trackers": False, "min_reconnect_time": 1, "max_failcount": 20,
    "close_redundant_connections": False,
    "alert_mask": int(lt.alert.category_t.status_notification | lt.alert.category_t.error_notification),
}
NAMES = {"downloading": "downloading", "finished": "complete", "seeding": "complete"}


def say(**fields):
    print(json.dumps(fields), flush=True)


def address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main():
    if sys.argv[1] == "--version":
        print("libtorrent", lt.__version__)
        return
    job = json.loads(sys.argv[1])
    session = lt.session({**SETTINGS, "listen_interfaces": job["listen"]})
    params = lt.load_torrent_file(job["torrent"])
    params.save_path = job["data"]
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    params.peers = [address(p) for p in job["peers"]]
    say(event="ready")
    handle = session.add_torrent(params)

    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    last = None
    while not ended.wait(0.02):
        status = handle.status()
        if status.errc.value():
            say(event="error", message=status.errc.message())
            return
        for alert in session.pop_alerts():
            if isinstance(alert, lt.listen_failed_alert):
                say(event="error", message=alert.message())
                return
        state = NAMES.get(str(status.state).rsplit(".", 1)[-1], "busy")
        now = {"event": "state", "state": state, "progress": status.progress}
        if now != last:
            say(**now)
            last = now


main()
