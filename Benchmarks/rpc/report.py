# SPDX-License-Identifier: Apache-2.0
"""Tables and a plot of what run.py measured."""

# Title, figure and digits of each column.
RATE = ("messages/s", "messages_per_s", 0)
COLUMNS = {
    "messages": [
        RATE, ("CPU µs/msg", "server_cpu_us_per_message", 2), ("first p50 µs", "first_p50_us", 0),
        ("first p99 µs", "first_p99_us", 0), ("gap p50 µs", "gap_p50_us", 0),
        ("gap p99 µs", "gap_p99_us", 0), ("RSS MiB", "resident_mib", 0)],
    "merging": [
        ("tokens/s", "tokens_per_s", 0), ("CPU µs/token", "server_cpu_us_per_token", 2),
        ("first p50 µs", "first_p50_us", 0), ("first p99 µs", "first_p99_us", 0),
        ("gap p50 µs", "gap_p50_us", 0), ("gap p99 µs", "gap_p99_us", 0),
        ("RSS MiB", "resident_mib", 0)],
}
TITLES = {
    "messages": "every token in a message of its own",
    "merging": "Silica merges, the peer sends every token in a message of its own",
}


def find(records, **wanted):
    for record in records:
        if all(record[name] == value for name, value in wanted.items()):
            return record
    return None


def pairs(results, mode):
    """Silica's record and the peer's, for each method and number of streams."""
    for record in results["medians"]:
        if record["server"] == "silica" and record["mode"] == mode:
            peer = find(results["medians"], server="peer", method=record["method"],
                        streams=record["streams"])
            if peer:
                yield record, peer


def cell(silica, peer, figure, digits):
    ours, theirs = silica[figure], peer[figure]
    ratio = f" ({ours / theirs:.2f})" if theirs else ""
    return f"{ours:.{digits}f} / {theirs:.{digits}f}{ratio}"


def aligned(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths)) for row in rows)


def table(results):
    parts = [f"Silica / C++ callback server (ratio); medians of {results['rounds']} rounds, "
             f"{results['connections']} connection(s), {results['cpus']} CPUs"]
    for mode, columns in COLUMNS.items():
        rows = [["method", "streams"] + [title for title, _, _ in columns]]
        for silica, peer in pairs(results, mode):
            rows.append([silica["method"], str(silica["streams"])]
                        + [cell(silica, peer, figure, digits) for _, figure, digits in columns])
        if len(rows) > 1:
            parts.append(f"\n{mode}: {TITLES[mode]}\n" + aligned(rows))
    if results["details"]:
        rows = [["server", "mode", "method", "streams", "allocations/token", "bytes/token",
                 "syscalls/message", "most of them"]]
        for record in results["details"]:
            most = sorted(record["syscalls"].items(), key=lambda entry: -entry[1])[:3]
            rows.append([
                record["server"], record["mode"], record["method"], str(record["streams"]),
                f"{record['allocations_per_token']:.2f}",
                f"{record['allocated_bytes_per_token']:.0f}",
                f"{record['syscalls_per_message']:.3f}",
                ", ".join(f"{name} {count:.3f}" for name, count in most)])
        parts.append("\ncounted apart from the times\n" + aligned(rows))
    return "\n".join(parts)


def series(results):
    """Name, colour, and tokens/s by streams of what the plot shows."""
    method = results["medians"][0]["method"]
    for name, colour, server, mode in [
            ("Silica, merging", "#1f77b4", "silica", "merging"),
            ("Silica, a message each", "#2ca02c", "silica", "messages"),
            ("C++ callback server", "#d62728", "peer", "messages")]:
        points = [(record["streams"], record["tokens_per_s"]) for record in results["medians"]
                  if (record["server"], record["mode"], record["method"]) == (server, mode, method)]
        if points:
            yield name, colour, sorted(points)


def plot(results):
    """Tokens a second by number of streams, as SVG."""
    width, height, left, right, bottom = 640, 360, 80, 160, 40
    lines = list(series(results))
    streams = sorted({s for _, _, points in lines for s, _ in points})
    top = max(rate for _, _, points in lines for _, rate in points) * 1.1

    def place(count, rate):
        x = left + streams.index(count) * (width - left - right) / max(1, len(streams) - 1)
        return x, (height - bottom) * (1 - rate / top)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             'font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>',
             '<text x="10" y="16">tokens/s by streams</text>']
    for step in range(5):
        value = top * step / 4
        y = (height - bottom) * (1 - step / 4)
        parts.append(f'<line x1="{left}" y1="{y:.0f}" x2="{width - right}" y2="{y:.0f}" '
                     'stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{value:.0f}</text>')
    for count in streams:
        x, _ = place(count, 0)
        parts.append(f'<text x="{x:.0f}" y="{height - 15}" text-anchor="middle">{count}</text>')
    for name, colour, points in lines:
        line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        _, y = place(*points[-1])
        parts.append(f'<text x="{width - right + 6}" y="{y + 4:.0f}" fill="{colour}">{name}</text>')
    return "\n".join(parts + ["</svg>", ""])
