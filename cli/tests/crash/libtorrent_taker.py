"""One libtorrent peer that takes a torrent from one other peer, which comes and goes. The only argument is a JSON object:

    {"torrent": FILE, "data": DIR, "listen": "HOST:PORT", "peer": "HOST:PORT"}

Prints one JSON object per line, {"event": "progress" or "complete", "failed": BYTES, "done": BYTES}: `failed` counts bytes
in pieces that did not match their hash. It ends when standard input is closed.
"""
import json
import sys
import threading

import libtorrent as lt

SETTINGS = {
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_incoming_utp": False, "enable_outgoing_utp": False, "allow_multiple_connections_per_ip": True,
    "min_reconnect_time": 1, "max_failcount": 1000000, "close_redundant_connections": False,
}


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def main():
    job = json.loads(sys.argv[1])
    session = lt.session({**SETTINGS, "listen_interfaces": job["listen"]})
    params = lt.load_torrent_file(job["torrent"])
    params.save_path = job["data"]
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    handle = session.add_torrent(params)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    last = None
    while not ended.wait(0.2):
        status = handle.status()
        if status.num_peers == 0:
            handle.connect_peer(address(job["peer"]))
        now = {"event": "complete" if status.is_seeding else "progress",
               "failed": status.total_failed_bytes, "done": status.total_done}
        if now["event"] == "complete" and now != last:
            handle.flush_cache()
            while not any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts()):
                if ended.wait(0.05):
                    return
        if now != last:
            print(json.dumps(now), flush=True)
            last = now


main()
