#!/usr/bin/env python3
"""DHT nodes of libtorrent in one network. The argument is JSON:

    {"listen": ["host:port", ...], "bootstrap": ["host:port"], "announce": [[hash, port]], "put": [text],
     "find": [hash], "get": [target]}

Each thing is done by the last node. Prints JSON lines: ready, stored, peer, item."""
import json
import sys
import time

import libtorrent as lt

if sys.argv[1:] == ["--version"]:
    print("libtorrent", lt.__version__)
    sys.exit()

# Addresses of one machine: every guard against such a network goes off.
SETTINGS = {
    "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False, "enable_dht": True,
    "dht_bootstrap_nodes": "", "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False,
    "dht_enforce_node_id": False, "dht_prefer_verified_node_ids": False, "dht_ignore_dark_internet": False,
    "dht_block_ratelimit": 10000, "dht_upload_rate_limit": 10_000_000,
    "alert_mask": int(lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification
                      | lt.alert.category_t.stats_notification),
}


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def start(listen):
    known = lt.default_settings()
    settings = {k: v for k, v in {**SETTINGS, "listen_interfaces": listen}.items() if k in known}
    session = lt.session(settings, 0)
    for node in options["bootstrap"]:
        session.add_dht_node(address(node))
    return session


def ask():
    for text in options["find"]:
        last.dht_get_peers(lt.sha1_hash(bytes.fromhex(text)))
    for text in options["get"]:
        last.dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(text)))


def handle(alert):
    if isinstance(alert, lt.dht_get_peers_reply_alert):
        for host, port in alert.peers():
            say("peer", hash=str(alert.info_hash), addr=f"{host}:{port}")
    elif isinstance(alert, lt.dht_immutable_item_alert):
        value = alert.item.get("value") if isinstance(alert.item, dict) else alert.item
        if value:
            text = value.decode() if isinstance(value, bytes) else str(value)
            say("item", target=str(alert.target), value=text)
    elif isinstance(alert, lt.dht_put_alert):
        say("stored", target=str(alert.target), nodes=alert.num_success)
    elif isinstance(alert, lt.session_stats_alert):
        return alert.values["dht.dht_nodes"]
    return None


options = json.loads(sys.argv[1])
sessions = [start(listen) for listen in options["listen"]]
last = sessions[-1]
known, begun, asked = 0, False, 0.0
while True:
    for session in sessions:
        session.post_session_stats()
        for alert in session.pop_alerts():
            count = handle(alert)
            if count is not None and session is last:
                known = count
    if known >= 2 and not begun:
        begun = True
        say("ready", nodes=known)
        for text, port in options["announce"]:
            last.dht_announce(lt.sha1_hash(bytes.fromhex(text)), port, 0)
        for text in options["put"]:
            last.dht_put_immutable_item(text)
    if begun and time.monotonic() - asked > 2:
        asked = time.monotonic()
        ask()
    time.sleep(0.1)
