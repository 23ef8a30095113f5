"""One libtorrent peer. The only argument is a JSON object:

    {"torrent": FILE, "data": DIR, "listen": "HOST:PORT", "peers": ["HOST:PORT", ...]}

or with "magnet": LINK in place of the torrent. "dht": ["HOST:PORT", ...] lets it use the DHT by these nodes; "pex",
"create": "hybrid" or "v2" makes the torrent of "source" first, and with "only" nothing else is done; "lsd" and "plain" (no encryption) are switches, "down_limit" is in bytes per second. Without either torrent or magnet it is a node of the DHT only.

Prints one JSON object per line: {"event": "ready"} before it adds the torrent, then for each change
{"event": "state", "state": "busy" | "downloading" | "complete", "progress": 0..1}. It ends when
standard input is closed. With --version it prints the version and ends.
"""
import json
import os
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
    # Nodes on one machine have addresses that look alike.
    "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False, "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False, "dht_ignore_dark_internet": False, "dht_block_ratelimit": 10000,
    "dht_bootstrap_nodes": "", "use_dht_as_fallback": False, "min_announce_interval": 5, "dht_announce_interval": 15,
    "local_service_announce_interval": 30,
    "alert_mask": int(lt.alert.category_t.status_notification | lt.alert.category_t.error_notification),
}
NAMES = {"downloading": "downloading", "finished": "complete", "seeding": "complete"}


def say(**fields):
    print(json.dumps(fields), flush=True)


def address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def limit(session, rate):
    """Limits what comes; peers nearby are exempt unless told otherwise."""
    session.apply_settings({"download_rate_limit": rate})
    everyone = lt.ip_filter()
    everyone.add_rule("0.0.0.0", "255.255.255.255", 1 << session.global_peer_class_id)
    session.set_peer_class_filter(everyone)


def create(job):
    """Makes a torrent of libtorrent's own, and tells its hashes."""
    files = lt.file_storage()
    lt.add_files(files, job["source"])
    only = {"hybrid": 0, "v2": int(lt.create_torrent.v2_only)}
    made = lt.create_torrent(files, 64 * 1024, only[job["create"]])
    lt.set_piece_hashes(made, os.path.dirname(job["source"]))
    made = lt.bencode(made.generate())
    with open(job["torrent"], "wb") as file:
        file.write(made)
    say(event="created", v2=str(lt.load_torrent_buffer(made).ti.info_hashes().v2))


def main():
    if sys.argv[1] == "--version":
        print("libtorrent", lt.__version__)
        return
    job = json.loads(sys.argv[1])
    if job.get("create"):
        create(job)
        if job.get("only"):
            return
    known = lt.default_settings()
    chosen = {**SETTINGS, "listen_interfaces": job["listen"], "enable_lsd": bool(job.get("lsd"))}
    if job.get("plain"):
        chosen["in_enc_policy"] = chosen["out_enc_policy"] = int(lt.enc_policy.pe_disabled)
    # Without the default plugins, so that PEX can be left out.
    session = lt.session({name: value for name, value in chosen.items() if name in known}, 0)
    session.add_extension("ut_metadata")
    if job.get("pex"):
        session.add_extension("ut_pex")
    if job.get("down_limit"):
        limit(session, job["down_limit"])
    if job.get("dht") is not None:
        session.apply_settings({"enable_dht": True})
        for node in job["dht"]:
            session.add_dht_node(address(node))
    if not job.get("torrent") and not job.get("magnet"):
        say(event="ready")
        sys.stdin.read()
        return
    params = lt.parse_magnet_uri(job["magnet"]) if job.get("magnet") else lt.load_torrent_file(job["torrent"])
    params.save_path = job["data"]
    if job.get("dht") is None:
        params.flags |= lt.torrent_flags.disable_dht
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    params.peers = list(params.peers) + [address(p) for p in job["peers"]]
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
