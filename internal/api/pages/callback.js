// Keeps the payment page live: asks once a second where the purchase stands and shows it.
(function () {
  "use strict";
  var main = document.querySelector("main");
  var reference = main.dataset.reference;
  if (!reference || main.dataset.done === "true") { return; }

  function el(id) { return document.getElementById(id); }

  function show(p) {
    if (el("title").textContent !== p.title) {
      document.title = document.title.replace(el("title").textContent, p.title);
      el("title").textContent = p.title;
    }
    if (el("message").textContent !== p.message) { el("message").textContent = p.message; } // or it is read aloud again
    el("steps").hidden = p.done;
    el("step").hidden = p.steps === 0;
    if (p.steps > 0) { // else the bar says only that something goes on
      el("bar").max = p.steps;
      el("bar").value = p.step_number - 0.5; // the step isn't done yet
      el("step").textContent = "Step " + p.step_number + " of " + p.steps;
    }
    if (p.url && /^https?:\/\//.test(p.url)) {
      el("link").href = p.url;
      el("ready").hidden = false;
      el("link").focus();
    }
  }

  function ask() {
    fetch("/api/payments/progress/" + encodeURIComponent(reference), { headers: { Accept: "application/json" } })
      .then(function (r) {
        if (!r.ok) { throw new Error(String(r.status)); }
        return r.json();
      })
      .then(function (p) {
        show(p);
        if (!p.done) { setTimeout(ask, 1000); }
      })
      .catch(function () { setTimeout(ask, 5000); });
  }
  ask();
})();
