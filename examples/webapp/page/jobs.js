// Keeps the page up to date, and runs jobs without a reload.
const live = document.getElementById("live"), message = document.getElementById("message");
let lost = false;

async function refresh() {
	const answer = await fetch("/@jobs", { headers: { Accept: "text/html" } });
	if (!answer.ok) throw new Error(await answer.text());
	const text = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
	if (text.innerHTML === live.innerHTML) return;
	const focused = document.activeElement.value;
	live.replaceChildren(...text.childNodes);
	if (focused) [...live.querySelectorAll("button")].find((b) => b.value === focused)?.focus();
}

async function loop() {
	if (!document.hidden) {
		try {
			await refresh();
			if (lost) message.textContent = "";
			lost = false;
		} catch {
			lost = true;
			message.textContent = "The server does not answer. What you see may be old.";
		}
	}
	setTimeout(loop, 1000);
}

document.addEventListener("submit", async (event) => {
	event.preventDefault();
	try {
		const answer = await fetch(event.target.action, { method: "POST", body: new URLSearchParams({ name: event.submitter.value }) });
		message.textContent = answer.ok ? event.submitter.value + " was told to run." : await answer.text();
		await refresh();
	} catch {
		message.textContent = "The server does not answer.";
	}
});

setTimeout(loop, 1000);
