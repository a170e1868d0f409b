(function () {
  'use strict';
  var code = document.body.dataset.code, wait = document.body.dataset.refresh * 1000;
  var step = document.getElementById('step'), bar = document.getElementById('bar'), progress = document.getElementById('progress');
  function again() { setTimeout(look, wait); }
  function look() {
    fetch(location.href, { headers: { Accept: 'application/json' }, cache: 'no-store', credentials: 'same-origin' }).then(function (answer) {
      if ((answer.headers.get('Content-Type') || '').indexOf('application/problem+json') !== 0) { location.reload(); return; }
      return answer.json().then(function (problem) {
        if (problem.code !== code) { location.reload(); return; }
        if (problem.progress) {
          progress.hidden = false;
          if (step.textContent !== problem.progress.text) { step.textContent = problem.progress.text; }
          bar.max = problem.progress.of; bar.value = problem.progress.done;
        }
        again();
      });
    }).catch(again);
  }
  again();
})();
