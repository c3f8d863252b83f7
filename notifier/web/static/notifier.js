// Enhances the pages: times in the reader's zone, relative times that tick, and new events
// as they happen. Without it, the pages show the same content.
"use strict";

(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

  // The service's clock, not this machine's.
  const offset = Date.parse(document.body.dataset.now) - Date.now() || 0;
  const now = () => Date.now() + offset;

  // --- times -------------------------------------------------------------------

  const parts = (format, at) =>
    Object.fromEntries(format.formatToParts(at).map((part) => [part.type, part.value]));
  const format = new Intl.DateTimeFormat("en-GB", {
    weekday: "short", day: "numeric", month: "short", year: "numeric",
    hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short",
  });

  const instant = (at) => {
    const it = parts(format, at), today = parts(format, now());
    const year = it.year === today.year ? "" : ` ${it.year}`;
    const month = it.month === "Sept" ? "Sep" : it.month;
    return `${it.weekday} ${it.day} ${month}${year}, ${clock(it)}`;
  };
  const clock = (it) => `${it.hour}:${it.minute} ${it.timeZoneName}`;

  const moment = (at) => {
    const it = parts(format, at), today = parts(format, now());
    const isToday = ["year", "month", "day"].every((key) => it[key] === today[key]);
    return isToday ? clock(it) : instant(at);
  };

  const two = (big, small, bigUnit, smallUnit) =>
    `${big} ${bigUnit}` + (small ? ` ${small} ${smallUnit}` : "");

  // The same text as `notifier.messages.humanize.span`.
  const span = (length) => {
    const seconds = Math.round(Math.abs(length) / SECOND);
    if (seconds < 60) return `${seconds} s`;
    const minutes = Math.round(seconds / 60);
    if (minutes < 60) return `${minutes} min`;
    if (minutes < 24 * 60) return two(Math.floor(minutes / 60), minutes % 60, "h", "min");
    const hours = Math.round(seconds / 3600);
    if (hours < 7 * 24) {
      const days = Math.floor(hours / 24);
      return two(days, hours % 24, days === 1 ? "day" : "days", "h");
    }
    const days = Math.round(seconds / 86400);
    return days < 730 ? `${days} days` : `${Math.round(days / 365.2425)} years`;
  };

  const relative = (at) => {
    const length = span(at - now());
    if (length === "0 s") return "now";
    return at > now() ? `in ${length}` : `${length} ago`;
  };

  const setText = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  const showLocalTimes = (within) => {
    for (const node of all("time[data-when]", within)) {
      const at = Date.parse(node.dateTime);
      setText(node, moment(at));
      node.title = relative(at);
    }
    for (const node of all("time[data-ago]", within)) {
      node.title = instant(Date.parse(node.dateTime));
    }
    for (const node of all("text[data-hour]", within)) {
      const it = parts(format, Date.parse(node.dataset.hour));
      setText(node, `${it.hour}:${it.minute}`);
    }
  };

  const tick = () => {
    for (const node of all("time[data-ago]")) setText(node, relative(Date.parse(node.dateTime)));
  };

  // --- new events --------------------------------------------------------------

  const followEvents = (list) => {
    const pause = document.querySelector("[data-live-pause]");
    const pill = document.querySelector("[data-live-pill]");
    const status = document.querySelector("[data-live-status]");
    const kinds = (list.dataset.liveKinds || "").split(",").filter(Boolean);
    const most = Number(list.dataset.liveMost || 200);
    let reached = Number(list.dataset.live);
    let waiting = new Map();
    let isFetching = false;
    let fetchAgain = false;
    let stream = null;

    const isPaused = () => pause?.getAttribute("aria-pressed") === "true";
    // Rows that are inserted above would move what the reader is looking at.
    const isScrolledDown = () => pill !== null && list.getBoundingClientRect().top < -40;

    const announce = (rows) => {
      if (!status) return;
      const newest = rows[0].querySelector("a")?.textContent ?? "";
      const kind = rows[0].querySelector(".chip")?.textContent ?? "";
      const events = rows.length === 1 ? "1 new event" : `${rows.length} new events`;
      status.textContent = `${events}: ${kind}, ${newest}`;
    };

    const show = () => {
      const rows = [...waiting.values()];
      waiting = new Map();
      if (pill) pill.hidden = true;
      if (!rows.length) return;
      document.querySelector("[data-live-empty]")?.remove();
      for (const row of rows.toReversed()) {
        row.classList.add("fresh");
        list.prepend(row);
      }
      while (list.children.length > most) list.lastElementChild.remove();
      announce(rows);
      tick();
    };

    const showOrOffer = () => {
      if (!waiting.size) return;
      if (!isPaused() && !isScrolledDown()) {
        show();
        return;
      }
      pill.textContent = `${waiting.size} new`;
      pill.setAttribute("aria-label", `Show ${waiting.size} new events`);
      pill.hidden = false;
    };

    // The service renders the rows, so that they look like the others.
    const fetchNewer = async () => {
      const query = new URLSearchParams({ after: String(reached) });
      for (const kind of kinds) query.append("kind", kind);
      const answer = await fetch(`/events/newer?${query}`, { credentials: "same-origin" });
      if (!answer.ok) return false;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const rows = all("li[data-event]", page.body).map((row) => document.adoptNode(row));
      const before = reached;
      reached = Number(answer.headers.get("x-newest")) || reached;
      const fresh = rows.filter(
        (row) =>
          !waiting.has(row.dataset.event) &&
          !list.querySelector(`[data-event="${CSS.escape(row.dataset.event)}"]`),
      );
      for (const row of fresh) showLocalTimes(row);
      // Newest first: before the rows that wait already.
      waiting = new Map([
        ...fresh.map((row) => [row.dataset.event, row]),
        ...waiting,
      ].slice(0, most));
      showOrOffer();
      return reached > before;
    };

    const fetchAll = async () => {
      fetchAgain = true;
      if (isFetching) return;
      isFetching = true;
      try {
        while (fetchAgain) {
          fetchAgain = false;
          while ((await fetchNewer()) && !fetchAgain) { /* until nothing is newer */ }
        }
      } catch {
        // The next event of the stream fetches again.
      } finally {
        isFetching = false;
      }
    };

    const listen = () => {
      if (document.hidden) return;
      if (stream && stream.readyState !== EventSource.CLOSED) return;
      stream = new EventSource(`/api/v1/stream?after=${reached}`);
      stream.addEventListener("event", fetchAll);
      // The browser reconnects, unless the service refused: too many listeners.
      stream.addEventListener("error", () => {
        if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 30 * SECOND);
      });
    };

    if (pause) {
      pause.hidden = false;
      pause.addEventListener("click", () => {
        const paused = !isPaused();
        pause.setAttribute("aria-pressed", String(paused));
        if (!paused) show();
      });
    }
    pill?.addEventListener("click", () => {
      pause?.setAttribute("aria-pressed", "false");
      show();
      list.scrollIntoView({ block: "nearest" });
      document.getElementById("main").focus({ preventScroll: true });
      if (list.getBoundingClientRect().top < 0) window.scrollTo({ top: 0 });
    });
    // A hidden page does not use up a listener of the stream.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) stream?.close();
      else listen();
    });
    window.addEventListener("pagehide", () => stream?.close());
    window.addEventListener("pageshow", listen);
    window.addEventListener("scroll", () => { if (!isPaused()) showOrOffer(); }, { passive: true });
    listen();
  };

  // --- start -------------------------------------------------------------------

  showLocalTimes(document);
  tick();
  setInterval(tick, SECOND);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const name = parts(format, now()).timeZoneName;
  const here = zone === name ? zone : `${zone} (${name})`;
  for (const node of all("[data-zone]")) node.textContent = `times in your zone, ${here}`;
  // Times in forms are in the zone of the reader.
  for (const field of all("[data-zone-field]")) field.value = zone;
  for (const node of all("[data-zone-label]")) {
    node.textContent = `${node.dataset.zoneLabel}, in ${zone}`;
  }
  // Do not submit a form twice while the first request runs.
  for (const form of all("form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
  }
  window.addEventListener("pageshow", () => {
    for (const form of all("form[data-sent]")) delete form.dataset.sent;
  });
  const list = document.querySelector("[data-live]");
  if (list && "EventSource" in window) followEvents(list);
})();
