// What droppers, reverse shells and rootkits on Linux have in common, whoever wrote them. Written from public
// descriptions of the techniques (MITRE ATT&CK, named in each rule). Every quantifier has a bound.

rule Linux_Dropper_Hidden_Download
{
    meta:
        description = "Script that downloads into a hidden file of a temporary folder and makes it executable"
        technique = "T1105, T1564.001"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $fetch = /\b(curl|wget)[ \t][^\n|;]{1,200}[ \t>](\/tmp|\/var\/tmp|\/dev\/shm)\/\.[A-Za-z0-9_-]{1,64}/
        $chmod = /\bchmod[ \t]{1,8}([0-7]{3,4}|[augo]{0,3}\+[rws]{0,3}x)[ \t]{1,8}(\/tmp|\/var\/tmp|\/dev\/shm)\/\.[A-Za-z0-9_-]{1,64}/
    condition:
        filesize < 256KB and all of them
}

rule Linux_Dropper_Address_To_Shell
{
    meta:
        description = "Script that pipes a download from a bare address into a shell and makes that last"
        technique = "T1059.004, T1053.003"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $pipe = /\b(curl|wget)[ \t][^\n|]{0,120}https?:\/\/[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}[^\n|]{0,120}\|[ \t]{0,4}(\/bin\/)?(ba|da)?sh\b/
        $last1 = "crontab -"
        $last2 = "/etc/cron.d/"
        $last3 = "/var/spool/cron"
        $last4 = "/etc/rc.local"
        $last5 = "authorized_keys"
        $last6 = "systemctl enable"
    condition:
        filesize < 256KB and $pipe and any of ($last*)
}

rule Linux_Base64_To_Shell
{
    meta:
        description = "Command that decodes a text carried along and hands it to a shell"
        technique = "T1027, T1140"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $decode = /[A-Za-z0-9+\/]{40,60}={0,2}["']?[ \t]{0,4}\|[ \t]{0,4}base64[ \t]{1,4}(-d|-D|--decode)[ \t]{0,4}\|[ \t]{0,4}(\/bin\/)?(ba|da|z)?sh\b/
        $here = /\bbase64[ \t]{1,4}(-d|-D|--decode)[ \t]{0,4}<<<[ \t]{0,4}["']?[A-Za-z0-9+\/]{40,1000}={0,2}["']?[ \t]{0,4}\|[ \t]{0,4}(\/bin\/)?(ba|da|z)?sh\b/
    condition:
        filesize < 1MB and any of them
}

rule Linux_Preload_Rootkit
{
    meta:
        description = "Shared object that hides files from those that it is preloaded into"
        technique = "T1574.006, T1014"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $preload = "/etc/ld.so.preload" fullword
        $next = "dlsym" fullword
        $list1 = "readdir" fullword
        $list2 = "readdir64" fullword
        $hide1 = "/proc/net/tcp"
        $hide2 = "/proc/self/fd/%d"
        $hide3 = "/proc/%s/cmdline"
        $hide4 = "/proc/%d/cmdline"
    condition:
        uint32(0) == 0x464c457f and uint16(16) == 3 and filesize < 4MB
        and $preload and $next and any of ($list*) and any of ($hide*)
}

rule Linux_Preload_Install
{
    meta:
        description = "Script that has a library from a temporary or hidden place loaded into every program"
        technique = "T1574.006"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $write = /\b(echo|printf)[ \t][^\n|;>]{0,40}(\/tmp\/|\/var\/tmp\/|\/dev\/shm\/|\/\.)[^\n|;>]{1,80}>{1,2}[ \t]{0,4}\/etc\/ld\.so\.preload\b/
    condition:
        filesize < 256KB and $write
}

rule Linux_Reverse_Shell_Dev_Tcp
{
    meta:
        description = "Shell whose input and output are a connection that bash makes"
        technique = "T1059.004"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $interactive = /sh[ \t]{1,4}-i[ \t]{0,4}[0-9]?(>&|&>|>)[ \t]{0,4}\/dev\/(tcp|udp)\/[^ \t\n\/]{1,253}\/[0-9]{1,5}[ \t]{1,4}0?[<>]&[ \t]{0,2}[0-9]/
        $connect = /\bexec[ \t]{1,4}[0-9]{1,3}<>[ \t]{0,4}\/dev\/(tcp|udp)\/[^ \t\n\/]{1,253}\//
        $shell = /sh([ \t]{1,4}-i)?[ \t]{1,4}[0-9]?<&[ \t]{0,2}[0-9]{1,3}[ \t]{1,4}[0-9]?>&[ \t]{0,2}[0-9]{1,3}/
    condition:
        filesize < 1MB and ($interactive or ($connect and $shell))
}

rule Linux_Reverse_Shell_Fifo
{
    meta:
        description = "Shell tied to a network program by a named pipe"
        technique = "T1059.004"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $fifo = /\bmkfifo[ \t]/
        $shell = /\|[ \t]{0,4}(\/bin\/)?(ba|da)?sh[ \t]{1,4}-i[ \t]{0,4}2>&1[ \t]{0,4}\|[ \t]{0,4}(nc|ncat|telnet|openssl|socat)[ \t]/
    condition:
        filesize < 256KB and all of them
}

rule Python_Reverse_Shell
{
    meta:
        description = "Python that ties a shell to a connection"
        technique = "T1059.006"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $connect = /\.connect\([ \t]{0,4}\(/
        $tie = /\bos\.dup2\([ \t]{0,4}[A-Za-z0-9_]{1,32}\.fileno\(\)[ \t]{0,4},[ \t]{0,4}[012]/
        $shell = /\b(pty\.spawn|subprocess\.(call|run|Popen)|os\.(system|execl|execv))\([ \t]{0,4}\[?[ \t]{0,4}["'](\/usr)?(\/bin\/)?(ba|da|z)?sh["']/
    condition:
        filesize < 256KB and all of them
}
