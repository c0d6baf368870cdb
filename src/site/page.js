
"use strict";
// Shows /status.json, once a second. Whatever comes from there is set as text, never as HTML.
(function () {
  var SHORTEST = 60, PERIOD = 1000;
  var latest = null, span = SHORTEST;

  function at(id) { return document.getElementById(id); }

  function say(id, text) {
    var element = at(id);
    if (element.textContent !== text) { element.textContent = text; }
  }

  function show(id, text) {
    at(id).hidden = !text;
    say(id, text || "");
  }

  function make(tag, text, kind) {
    var element = document.createElement(tag);
    element.textContent = text;
    if (kind) { element.className = kind; }
    return element;
  }

  function bytes(count) {
    var units = ["B", "kB", "MB", "GB", "TB", "PB"], unit = 0;
    while (count >= 999.5 && unit < units.length - 1) { count /= 1000; unit += 1; }
    return (unit === 0 || count >= 99.5 ? Math.round(count) : count.toFixed(1)) + " " + units[unit];
  }

  function rate(count) { return bytes(count) + "/s"; }

  function age(seconds) {
    var s = Math.max(0, Math.floor(seconds));
    if (s < 60) { return s + " s"; }
    if (s < 3600) { return Math.floor(s / 60) + " min" + (s % 60 ? " " + s % 60 + " s" : ""); }
    if (s < 86400) { return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min"; }
    return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
  }

  function clock(seconds) {
    return new Date(Date.now() - seconds * 1000).toTimeString().slice(0, 8);
  }

  // The next 1, 2 or 5 times a power of ten, so that the scale stays still while rates move.
  function ceiling(value) {
    var power = Math.pow(10, Math.floor(Math.log10(Math.max(value, 1000))));
    var steps = [1, 2, 5, 10], i;
    for (i = 0; i < steps.length; i += 1) {
      if (steps[i] * power >= value) { return steps[i] * power; }
    }
    return value;
  }

  function points(values, top) {
    var offset = span - values.length;
    return values.map(function (value, i) {
      return ((offset + i + 1) * 300 / span).toFixed(1) + " " + (100 - value * 96 / top).toFixed(2);
    });
  }

  function draw(history) {
    var each = history.interval_seconds;
    var down = history.down.map(function (n) { return n / each; });
    var up = history.up.map(function (n) { return n / each; });
    var top = ceiling(Math.max.apply(null, down.concat(up, [0])));
    var low, high, first;
    span = Math.max(SHORTEST, down.length);
    low = points(down, top);
    high = points(up, top);
    first = (span - down.length + 1) * 300 / span;
    at("line-down").setAttribute("d", low.length ? "M" + low.join("L") : "");
    at("area-down").setAttribute("d", low.length ? "M" + first + " 100L" + low.join("L") + "L300 100Z" : "");
    at("line-up").setAttribute("d", high.length ? "M" + high.join("L") : "");
    say("oldest", age(span * each) + " ago");
    say("scale", rate(top));
    say("half", rate(top / 2));
    say("rate-down", rate(down.length ? down[down.length - 1] : 0));
    say("rate-up", rate(up.length ? up[up.length - 1] : 0));
  }

  function point(event) {
    var box = at("chart").getBoundingClientRect();
    var share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    var history = latest && latest.history, tip = at("tip"), back, i, x;
    if (!history) { return; }
    back = Math.round((1 - share) * (span - 1));
    i = history.down.length - 1 - back;
    if (i < 0) { leave(); return; }
    x = (span - back) * 300 / span;
    at("cursor").setAttribute("x1", x);
    at("cursor").setAttribute("x2", x);
    at("cursor").removeAttribute("hidden");
    tip.hidden = false;
    tip.textContent = clock(back * history.interval_seconds) + "   down " + rate(history.down[i]) +
      "   up " + rate(history.up[i]);
    tip.style.left = Math.min(share * box.width + 8, Math.max(box.width - tip.offsetWidth - 4, 0)) + "px";
  }

  function leave() {
    at("tip").hidden = true;
    at("cursor").setAttribute("hidden", "");
  }

  function list(id, pairs) {
    var parent = at(id), old = parent.children;
    pairs.forEach(function (pair, i) {
      if (old.length < 2 * i + 2) { parent.append(make("dt", ""), make("dd", "")); }
      [0, 1].forEach(function (part) {
        var element = old[2 * i + part];
        if (element.textContent !== pair[part]) { element.textContent = pair[part]; }
      });
    });
    while (old.length > 2 * pairs.length) { parent.lastChild.remove(); }
  }

  function through(session) {
    var all = [];
    if (session.redirects.ipv4) { all.push("all of IPv4"); }
    if (session.redirects.ipv6) { all.push("all of IPv6"); }
    return all.concat(session.routes).join(", ") || "none";
  }

  function facts(data) {
    var session = data.session, pairs = [];
    if (session) {
      pairs.push(["Server", session.host + " (" + session.address + ", " + session.carrier + ")"],
        ["Device", session.device + ", MTU " + session.mtu_bytes],
        ["Inner addresses", session.inner.join(", ") || "none"],
        ["Encryption", session.cipher + (session.tls ? ", " + session.tls : "")],
        ["DNS inside", session.dns.join(", ") || "none: names are refused"],
        ["Domains", session.domains.join(", ") || "none"],
        ["Pushed routes", through(session)]);
    }
    if (data.rules.length) { pairs.push(["Own rules", data.rules.join(", ")]); }
    pairs.push(["Connections made", data.connects + " of " + data.attempts + " attempts"],
      ["Key renewals", String(data.renewals)], ["Running for", age(data.uptime_seconds)]);
    list("facts", pairs);
  }

  function connections(data) {
    var body = document.createDocumentFragment();
    data.rows.forEach(function (row) {
      var line = document.createElement("tr");
      if (!row.is_open) { line.className = "opening"; }
      line.append(make("td", row.target), make("td", row.kind), make("td", age(row.seconds), "number"),
        make("td", row.is_open ? bytes(row.down_bytes) : "opening", "number"),
        make("td", row.is_open ? bytes(row.up_bytes) : "", "number"));
      body.append(line);
    });
    if (!data.rows.length) {
      var none = document.createElement("tr"), cell = make("td", "No program is connected through this proxy now.", "empty");
      cell.colSpan = 5;
      none.append(cell);
      body.append(none);
    }
    at("rows").replaceChildren(body);
    say("open", String(data.open));
    show("more", data.more ? "and " + data.more + " more" : "");
  }

  function log(lines) {
    var body = document.createDocumentFragment();
    lines.slice().reverse().forEach(function (line) {
      var item = document.createElement("li");
      item.append(make("span", clock(line.seconds)), make("span", line.level.toLowerCase(), line.level.toLowerCase()),
        make("b", line.text));
      body.append(item);
    });
    if (!lines.length) { body.append(make("li", "Nothing yet.", "empty")); }
    at("lines").replaceChildren(body);
  }

  function update(data) {
    latest = data;
    at("dot").className = "dot " + data.state.level;
    say("state", data.state.text);
    say("since", data.state.name + " since " + clock(data.state.seconds) + ", " + age(data.state.seconds));
    say("version", data.version);
    document.title = data.state.text + " · tunless";
    show("question", data.question ? "A question is open: " + data.question + "." : "");
    show("retry", data.retry ? data.retry.reason + "; trying " + data.retry.next : "");
    draw(data.history);
    list("totals", [["Down", bytes(data.traffic.down_bytes)], ["Up", bytes(data.traffic.up_bytes)],
      ["Packets down / up", data.traffic.down_packets + " / " + data.traffic.up_packets],
      ["Dropped down / up", data.traffic.down_dropped + " / " + data.traffic.up_dropped]]);
    facts(data);
    connections(data.connections);
    log(data.log);
  }

  function lost() {
    at("dot").className = "dot down";
    say("state", "tunless does not answer");
    say("since", "It has ended, or this page can no longer reach it.");
    document.title = "no answer · tunless";
  }

  function poll() {
    fetch("/status.json", { cache: "no-store", credentials: "same-origin" })
      .then(function (response) {
        if (!response.ok) { throw new Error(String(response.status)); }
        return response.json();
      })
      .then(update)
      .catch(lost)
      .then(function () { setTimeout(poll, PERIOD); });
  }

  function how() {
    var pac = location.origin + "/proxy.pac", host = location.host;
    say("pac", pac);
    say("how-chrome", "chromium --proxy-pac-url=" + pac);
    say("how-curl", "curl --proxy socks5h://" + host + " http://HOST/");
    say("how-ssh", "ssh -o ProxyCommand='nc -X 5 -x " + host + " %h %p' HOST");
    at("copy").addEventListener("click", function () {
      var range = document.createRange();
      range.selectNodeContents(at("pac"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      if (navigator.clipboard) {
        navigator.clipboard.writeText(pac).then(function () { say("copy", "Copied"); }, function () { say("copy", "Selected"); });
      } else {
        say("copy", "Selected");
      }
    });
  }

  at("chart").addEventListener("mousemove", point);
  at("chart").addEventListener("mouseleave", leave);
  how();
  poll();
}());
