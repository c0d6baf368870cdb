  // Which of the entries is first to match decides. Nothing in here resolves a name: that would tell the host's
  // resolver what is visited, and its answer would not be the one that holds inside the VPN.
  function parse4(text) {
    var parts = text.split("."), value = 0, i;
    if (parts.length !== 4) { return null; }
    for (i = 0; i < 4; i += 1) {
      if (!/^(0|[1-9][0-9]{0,2})$/.test(parts[i]) || Number(parts[i]) > 255) { return null; }
      value = value * 256 + Number(parts[i]);
    }
    return value;
  }

  function groups(text) {
    var found = [], parts = text === "" ? [] : text.split(":"), i, last;
    for (i = 0; i < parts.length; i += 1) {
      if (i === parts.length - 1 && parts[i].indexOf(".") >= 0) {
        last = parse4(parts[i]);
        if (last === null) { return null; }
        found.push(Math.floor(last / 65536), last % 65536);
      } else if (/^[0-9a-f]{1,4}$/.test(parts[i])) {
        found.push(parseInt(parts[i], 16));
      } else {
        return null;
      }
    }
    return found;
  }

  function parse6(text) {
    var halves = text.split("::"), head, tail;
    if (text.indexOf(":") < 0 || halves.length > 2) { return null; }
    head = groups(halves[0]);
    if (head === null) { return null; }
    if (halves.length === 1) { return head.length === 8 ? head : null; }
    tail = groups(halves[1]);
    if (tail === null || head.length + tail.length > 7) { return null; }
    while (head.length + tail.length < 8) { head.push(0); }
    return head.concat(tail);
  }

  function inside4(address, net, bits) {
    var size = Math.pow(2, 32 - bits);
    return Math.floor(address / size) === Math.floor(net / size);
  }

  function inside6(address, net, bits) {
    var i, left, size;
    for (i = 0; i < 8; i += 1) {
      left = bits - i * 16;
      if (left <= 0) { return true; }
      size = left >= 16 ? 1 : Math.pow(2, 16 - left);
      if (Math.floor(address[i] / size) !== Math.floor(net[i] / size)) { return false; }
    }
    return true;
  }

  function isBelow(name, parent) {
    var at = name.length - parent.length - 1;
    return at > 0 && name.charAt(at) === "." && name.substring(at + 1) === parent;
  }

  function matches(entry, name, four, six) {
    switch (entry[1]) {
    case "all": return true;
    case "net4": return four !== null && inside4(four, entry[2], entry[3]);
    case "net6": return six !== null && inside6(six, entry[2], entry[3]);
    }
    if (four !== null || six !== null) { return false; }
    switch (entry[1]) {
    case "exact": return name === entry[2];
    case "below": return isBelow(name, entry[2]);
    case "tree": return name === entry[2] || isBelow(name, entry[2]);
    case "plain": return name.indexOf(".") < 0;
    }
    return false;
  }

  var name = String(host).toLowerCase(), four, six, i;
  if (name.charAt(0) === "[") { name = name.substring(1, name.length - 1); }
  name = name.replace(/%.*$/, "").replace(/\.$/, "");
  four = parse4(name);
  six = four === null ? parse6(name) : null;
  if (six !== null && six.slice(0, 5).join("") === "00000" && six[5] === 65535) {
    four = six[6] * 65536 + six[7];
    six = null;
  }
  if (name === "localhost" || isBelow(name, "localhost") || (four !== null && inside4(four, 2130706432, 8)) ||
      (six !== null && six.join(":") === "0:0:0:0:0:0:0:1")) {
    return "DIRECT";
  }
  // An address in a form that only some programs read: the proxy refuses it.
  if (four === null && six === null && (name === "" || /(^|\.)(0x[0-9a-f]*|[0-9]+)$/.test(name))) { return proxy; }
  for (i = 0; i < entries.length; i += 1) {
    if (matches(entries[i], name, four, six)) { return entries[i][0] ? proxy : "DIRECT"; }
  }
  return otherwise ? proxy : "DIRECT";
}
