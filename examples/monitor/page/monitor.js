"use strict";
// The jobs live in localStorage, so that the page goes on after a reload: {id: completed?}.
const key = "jobs";
const jobs = JSON.parse(localStorage.getItem(key) || "{}");
const $ = (id) => document.getElementById(id);
let socket = null, wanted = false, pause = 500;

function show() {
	localStorage.setItem(key, JSON.stringify(jobs));
	const all = Object.values(jobs);
	$("total").textContent = all.length;
	$("completed").textContent = all.filter((done) => done).length;
	$("pending").textContent = all.filter((done) => !done).length;
	$("connect").disabled = wanted;
	$("disconnect").disabled = !wanted;
}

function log(text) {
	const li = document.createElement("li");
	li.textContent = new Date().toLocaleTimeString() + "  " + text;
	$("log").prepend(li);
	while ($("log").children.length > 200) $("log").lastChild.remove();
}

function connect() {
	wanted = true;
	$("status").textContent = "connecting…";
	const s = socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/jobMonitor");
	s.onopen = () => {
		pause = 500;
		$("status").textContent = "connected";
		log("connected");
		for (const id in jobs) if (!jobs[id]) s.send(id);
	};
	s.onmessage = (event) => {
		const [word, id] = event.data.split(" ");
		if (word === "unknown" && id in jobs) {
			delete jobs[id];
			log("the server does not know " + id);
		} else if (jobs[word] === false) {
			jobs[word] = true;
			log("completed " + word);
		}
		show();
	};
	s.onclose = () => {
		if (s !== socket) return;
		socket = null;
		log("disconnected");
		if (!wanted) {
			$("status").textContent = "not connected";
			return;
		}
		$("status").textContent = "connection lost, trying again…";
		setTimeout(() => { if (wanted && !socket) connect(); }, pause * (0.5 + Math.random()));
		pause = Math.min(2 * pause, 10000);
	};
	show();
}

async function create(query) {
	try {
		const response = await fetch("/createJob" + query);
		const text = await response.text();
		if (!response.ok) throw new Error(text);
		for (const id of text.trim().split("\n")) {
			jobs[id] = false;
			log("created " + id);
			if (socket && socket.readyState === WebSocket.OPEN) socket.send(id);
		}
	} catch (err) {
		log("not created: " + err.message);
	}
	show();
}

$("connect").onclick = connect;
$("disconnect").onclick = () => { wanted = false; if (socket) socket.close(); show(); };
$("create").onclick = () => create("");
$("serial").onclick = () => create("?serial=3");
show();
