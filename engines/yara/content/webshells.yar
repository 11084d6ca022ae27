// Pages that run what their visitor sends. Every quantifier has a bound.

rule PHP_Webshell_Request
{
    meta:
        description = "PHP that runs a parameter of the request"
        technique = "T1505.003"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $php = /<\?(php|=)/ nocase
        // A method (`->exec`, `::exec`) and a longer name (`curl_exec`) are other functions.
        $run = /[^A-Za-z0-9_>:$](eval|assert|system|shell_exec|passthru|popen|proc_open|exec|pcntl_exec)[ \t]{0,4}\([ \t]{0,4}(@?(base64_decode|gzinflate|str_rot13|stripslashes|urldecode|trim)[ \t]{0,4}\([ \t]{0,4}){0,3}@?\$_(GET|POST|REQUEST|COOKIE|SERVER)[ \t]{0,4}\[/
    condition:
        filesize < 1MB and all of them
}

rule PHP_Webshell_Packed
{
    meta:
        description = "PHP that unpacks a text carried along and runs it"
        technique = "T1505.003, T1027"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $php = /<\?(php|=)/ nocase
        $run = /[^A-Za-z0-9_>:$](eval|assert)[ \t]{0,4}\([ \t]{0,4}@?(gzinflate|gzuncompress|gzdecode|str_rot13|base64_decode|strrev)[ \t]{0,4}\([ \t]{0,4}(@?(gzinflate|gzuncompress|gzdecode|str_rot13|base64_decode|strrev)[ \t]{0,4}\([ \t]{0,4}){0,4}["'][A-Za-z0-9+\/=]{32}/
    condition:
        filesize < 4MB and all of them
}

rule JSP_Webshell
{
    meta:
        description = "JSP that starts a program which the request names and prints what it says"
        technique = "T1505.003"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $page = "<%"
        $direct = /(getRuntime\(\)[ \t\r\n]{0,8}\.exec|new[ \t]{1,4}ProcessBuilder)\([^;\n]{0,80}request\.getParameter\(/
        $parameter = "request.getParameter("
        $run = /(getRuntime\(\)[ \t\r\n]{0,8}\.exec|new[ \t]{1,4}ProcessBuilder)\(/
        $read = ".getInputStream()"
        $print = /\bout\.print(ln)?\(/
    condition:
        filesize < 64KB and $page and ($direct or ($parameter and $run and $read and $print))
}

rule Python_Webshell
{
    meta:
        description = "Python behind a web server that runs a parameter of the request"
        technique = "T1505.003"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $request = /\b(os\.(system|popen)|subprocess\.(getoutput|getstatusoutput|check_output|run|call|Popen)|eval|exec)\([ \t]{0,4}(flask\.)?request\.(args|form|values|cookies|headers|json)(\.get\(|\[)/
        $form = /\b(os\.(system|popen)|subprocess\.(getoutput|getstatusoutput|check_output))\([ \t]{0,4}[A-Za-z_][A-Za-z0-9_]{0,31}\.(getvalue|getfirst)\(/
    condition:
        filesize < 1MB and any of them
}
