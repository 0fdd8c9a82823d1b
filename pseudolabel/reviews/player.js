"use strict";
// Sound and picture of the clip that is shown: play from the window or from the start, see and choose the position.

const KEPT_ADDRESSES = 30;

class Player {
  constructor(content, $) {
    this.content = content;
    this.$ = $;
    this.audio = $("audio");
    this.addresses = new Map();
    this.begin = null; // where to start as soon as the browser knows the sound's length
    this.audio.addEventListener("loadedmetadata", () => this.seekToBegin());
    for (const event of ["play", "pause", "ended", "seeked", "timeupdate"]) {
      this.audio.addEventListener(event, () => this.update());
    }
    this.audio.addEventListener("error", () => this.fail());
    $("position").addEventListener("input", (event) => this.seek(Number(event.target.value)));
    $("stage").addEventListener("click", (event) => {
      const box = $("stage").getBoundingClientRect();
      this.playFrom(((event.clientX - box.left) / box.width) * this.duration);
    });
  }

  get playing() {
    return !this.audio.paused && !this.audio.ended;
  }

  // Show the clip with its window, [start, length] in seconds or undefined; return false until its sound has been read.
  show(clip, window) {
    const $ = this.$;
    this.audio.pause();
    this.begin = null;
    this.from = window ? window[0] : 0;
    this.duration = clip.duration_s || 0;
    $("listen").hidden = !clip.audio;
    if (!clip.audio) {
      this.audio.removeAttribute("src");
      return true;
    }
    const [sound, picture] = [this.address(clip.audio, "audio/flac"), this.address(clip.picture, "image/png")];
    if (!sound || !picture) return false;
    if (this.audio.getAttribute("src") !== sound) this.audio.src = sound;
    else this.audio.currentTime = 0;
    $("picture").src = picture;
    const marked = window ? `; marked from ${seconds(window[0])} to ${seconds(window[0] + window[1])}` : "";
    $("picture").alt = `Log-mel picture of the clip, ${seconds(this.duration)} long${marked}`;
    this.mark(window);
    this.label(window);
    $("position").max = this.duration;
    $("seconds").replaceChildren(...this.ticks());
    this.update();
    return true;
  }

  mark(window) {
    const mark = this.$("window");
    mark.hidden = !window;
    if (!window) return;
    const end = Math.min(window[0] + window[1], this.duration);
    mark.style.left = this.percent(window[0]);
    mark.style.width = this.percent(end - window[0]);
    mark.classList.toggle("late", window[0] > 0.6 * this.duration);
    mark.firstElementChild.textContent = `${seconds(window[0])} – ${seconds(end)}`;
  }

  label(window) {
    this.words = window ? `Play from ${seconds(window[0])}` : "Play";
    this.$("play-all").hidden = !window;
  }

  ticks() {
    const step = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300].find((length) => this.duration / length <= 10) || 600;
    const marks = [];
    for (let time = 0; time <= this.duration + 0.001; time += step) {
      const mark = document.createElement("span");
      mark.style.left = this.percent(time);
      mark.className = time === 0 ? "first" : time > 0.96 * this.duration ? "last" : "";
      mark.textContent = time + step > this.duration + 0.001 ? seconds(time) : String(time);
      marks.push(mark);
    }
    return marks;
  }

  percent(time) {
    return `${this.duration ? (100 * time) / this.duration : 0}%`;
  }

  // Return the address of a sound or picture, "" while the page is still loading.
  address(file, type) {
    if (!this.content.embedded) return file;
    if (this.addresses.has(file)) return this.addresses.get(file);
    const text = document.querySelector(`script[data-file="${file}"]`)?.textContent;
    if (!text) return "";
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    this.addresses.set(file, URL.createObjectURL(new Blob([bytes], { type })));
    const [oldest, address] = this.addresses.entries().next().value;
    if (this.addresses.size > KEPT_ADDRESSES) {
      URL.revokeObjectURL(address);
      this.addresses.delete(oldest);
    }
    return this.addresses.get(file);
  }

  // Load what is likely to be shown next.
  prepare(clip) {
    if (this.content.embedded || !clip.audio) return;
    this.ahead = [new Image(), new Audio()];
    this.ahead[0].src = clip.picture;
    this.ahead[1].preload = "auto";
    this.ahead[1].src = clip.audio;
  }

  playFrom(time) {
    if (this.$("listen").hidden) return;
    if (this.audio.error) this.audio.load();
    this.begin = Math.min(Math.max(time, 0), this.duration);
    if (this.audio.readyState >= HTMLMediaElement.HAVE_METADATA) this.seekToBegin();
    this.audio.play().catch(() => {}); // refused before the first key or click: the page then waits for one
  }

  // Play from the window on, or stop.
  toggle() {
    if (this.playing) this.audio.pause();
    else this.playFrom(this.from);
  }

  seek(time) {
    if (this.audio.readyState >= HTMLMediaElement.HAVE_METADATA) this.audio.currentTime = time;
  }

  seekToBegin() {
    if (this.begin !== null) this.audio.currentTime = this.begin;
    this.begin = null;
  }

  // Update playhead, slider, clock and button, with every frame while it plays.
  update() {
    const $ = this.$;
    if (this.playing && this.begin === null && this.audio.currentTime >= this.duration) this.audio.pause(); // silence follows
    const time = Math.min(this.begin ?? this.audio.currentTime, this.duration);
    $("playhead").style.left = this.percent(time);
    $("position").value = time;
    $("clock").textContent = `${time.toFixed(1)} / ${seconds(this.duration)}`;
    $("play").firstElementChild.textContent = this.playing ? "Stop" : this.words;
    $("play").classList.toggle("playing", this.playing);
    if (this.playing && !this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.update();
      });
    }
  }

  fail() {
    if (!this.audio.getAttribute("src")) return;
    const beside = this.content.embedded ? "" : " Is the folder “audio” still beside this page?";
    this.$("message").textContent = `This clip could not be played.${beside}`;
  }
}

function seconds(time) {
  return `${Math.round(time * 100) / 100} s`;
}
