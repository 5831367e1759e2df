# SPDX-License-Identifier: Apache-2.0
"""The words of the miniature model but its nouns: English, Chinese, what may stand beside them.

Written for this repository. A line is one word; its fields stand between bars. An English plural,
past or -ing form is given where the rules of `morphology` would make another.
"""

# English | comparative (empty: more ...) | Chinese | kinds it may describe
ADJECTIVES = """
big|bigger|大|animal food thing furniture vehicle place nature building clothes
small|smaller|小|animal food thing furniture vehicle place nature building clothes
old|older|老|person animal
young|younger|年轻|person
new|newer|新|text thing clothes furniture vehicle place building
tall|taller|高大|person nature building
happy|happier|高兴|person
sad|sadder|难过|person
busy|busier|忙碌|person
tired||疲惫|person
clever|cleverer|聪明|person animal
kind|kinder|善良|person
brave|braver|勇敢|person animal
strong|stronger|强壮|person animal
famous||有名|person text place nature building
rich|richer|富有|person
poor|poorer|贫穷|person
polite||礼貌|person
honest||诚实|person
lazy|lazier|懒|person animal
quiet|quieter|安静|person place
friendly|friendlier|友好|person
patient||耐心|person
angry|angrier|生气|person
careful||小心|person
fat|fatter|胖|person animal
thin|thinner|瘦|person animal
beautiful||漂亮|person animal thing clothes place nature building
ugly|uglier|丑|animal clothes building
expensive||贵|food text thing clothes furniture vehicle
cheap|cheaper|便宜|food text thing clothes furniture vehicle
interesting||有趣|person text place
boring||无聊|person text place
long|longer|长|text clothes nature
short|shorter|短|text clothes nature
heavy|heavier|重|thing furniture
light|lighter|轻|thing furniture
clean|cleaner|干净|thing clothes furniture place vehicle nature
dirty|dirtier|脏|thing clothes furniture place vehicle nature
fast|faster|快|vehicle animal
slow|slower|慢|vehicle animal
safe|safer|安全|place vehicle
dangerous||危险|animal place nature
sweet|sweeter|甜|food
fresh|fresher|新鲜|food
delicious||好吃|food
difficult||难|text
easy|easier|容易|text
important||重要|text person
useful||有用|text thing
modern||现代化|place building vehicle
warm|warmer|暖和|clothes place
cold|colder|冷|place food
hot|hotter|热|food
red||红色|thing clothes furniture vehicle
blue||蓝色|thing clothes furniture vehicle
green||绿色|thing clothes furniture vehicle
yellow||黄色|thing clothes furniture vehicle
white||白色|thing clothes furniture vehicle animal
black||黑色|thing clothes furniture vehicle animal
"""

# Colours name a kind in Chinese and take no degree: they are never a predicate here.
COLOURS = {"red", "blue", "green", "yellow", "white", "black"}

# English (past, -ing, third person if irregular) | Chinese | kinds of the object
TRANSITIVES = """
buy/bought|买|food text thing clothes furniture vehicle
sell/sold|卖|food text thing clothes furniture vehicle
eat/ate|吃|food
cook|煮|food
wash|洗|food thing clothes vehicle
cut/cut/cutting|切|food
read/read|读|text
write/wrote|写|text
translate|翻译|text
print|打印|text
find/found|找到|person animal text thing clothes
lose/lost|丢|text thing clothes
see/saw|看见|person animal text thing vehicle place nature building
visit|参观|place building
clean|打扫|place furniture building
repair|修理|vehicle furniture thing building
paint|画|animal nature building
carry/carried|搬|thing furniture
open|打开|furniture thing
close|关上|furniture
break/broke|打破|thing
hide/hid|藏|thing text food
borrow|借|text thing vehicle
use|使用|thing vehicle
drive/drove|开|vehicle
help|帮助|person
meet/met|遇见|person
invite|邀请|person
thank|感谢|person
teach/taught|教|person
call|叫|person
follow|跟着|person animal
wait for/waited for/waiting for/waits for|等|person vehicle
look for/looked for/looking for/looks for|寻找|person animal text thing clothes
look at/looked at/looking at/looks at|看|person animal thing nature building
feed/fed|喂|animal
catch/caught|抓住|animal
protect|保护|person animal nature
draw/drew|描绘|animal thing nature building
wear/wore|穿戴|clothes
choose/chose|选择|text thing clothes place
send/sent|寄|text thing clothes
receive|收到|text thing
bring/brought|带来|food text thing clothes
take/took|拿走|food text thing clothes
move|移动|thing furniture vehicle
build/built|建造|building place
photograph|拍摄|person animal nature building
praise|表扬|person
push|推|vehicle furniture
collect|收集|thing text
check|检查|vehicle text thing
return|归还|text thing vehicle
forget/forgot/forgetting|忘记|person text
touch/touched/touching/touches|摸|animal thing
throw/threw|扔|thing food
prepare|准备|food text thing
study/studied|研究|animal text nature
climb|爬|nature building
cross|穿过|nature place
leave/left|离开|place building
enter|进入|place building
"""

# States, used in the present only: English | Chinese | kinds of the object
STATES = """
like|喜欢|person animal food text thing clothes vehicle place nature building
love|爱|person animal
know/knew|认识|person
need|需要|person text thing clothes vehicle
hate|讨厌|person animal food place
remember|记得|person text place
want|想要|food text thing clothes vehicle animal
miss/missed/missing/misses|想念|person animal place
understand/understood|理解|person text
"""

# English | Chinese, without an object
INTRANSITIVES = """
sleep/slept|睡觉
work|工作
run/ran/running|跑步
swim/swam/swimming|游泳
sing/sang|唱歌
dance|跳舞
cry/cried|哭
laugh|笑
rest|休息
study/studied|学习
play|玩
wait|等待
travel|旅行
draw/drew|画画
eat dinner/ate dinner/eating dinner/eats dinner|吃晚饭
eat breakfast/ate breakfast/eating breakfast/eats breakfast|吃早饭
drink tea/drank tea/drinking tea/drinks tea|喝茶
drink coffee/drank coffee/drinking coffee/drinks coffee|喝咖啡
drink milk/drank milk/drinking milk/drinks milk|喝牛奶
drink water/drank water/drinking water/drinks water|喝水
watch television/watched television/watching television/watches television|看电视
watch a film/watched a film/watching a film/watches a film|看电影
listen to music/listened to music/listening to music/listens to music|听音乐
play football/played football/playing football/plays football|踢足球
play chess/played chess/playing chess/plays chess|下棋
take a walk/took a walk/taking a walk/takes a walk|散步
go shopping/went shopping/going shopping/goes shopping|购物
learn English/learned English/learning English/learns English|学英语
learn Chinese/learned Chinese/learning Chinese/learns Chinese|学中文
speak English/spoke English/speaking English/speaks English|说英语
speak Chinese/spoke Chinese/speaking Chinese/speaks Chinese|说中文
"""

NAMES = """
Anna|安娜
Tom|汤姆
Mary|玛丽
John|约翰
Peter|彼得
Lucy|露西
David|大卫
Lisa|丽莎
Jack|杰克
Emma|艾玛
Paul|保罗
Alice|爱丽丝
Mike|迈克
Linda|琳达
Henry|亨利
Susan|苏珊
Robert|罗伯特
Helen|海伦
Frank|弗兰克
Nancy|南希
Li Ming|李明
Wang Fang|王芳
Zhang Wei|张伟
Liu Yang|刘洋
Chen Jing|陈静
Zhao Lei|赵雷
"""

CITIES = """
Beijing|北京
Shanghai|上海
London|伦敦
Paris|巴黎
Tokyo|东京
New York|纽约
Berlin|柏林
Rome|罗马
Moscow|莫斯科
Hong Kong|香港
Guangzhou|广州
Sydney|悉尼
"""

# When an action takes place, by the tense that it goes with.
TIMES = {
    "past": """
yesterday|昨天
last week|上周
last month|上个月
last year|去年
this morning|今天早上
last night|昨晚
two days ago|两天前
on Monday|星期一
on Sunday|星期天
""",
    "future": """
tomorrow|明天
next week|下周
next month|下个月
next year|明年
tonight|今晚
this evening|今天晚上
the day after tomorrow|后天
on Friday|星期五
on Saturday|星期六
""",
    "habit": """
every day|每天
every morning|每天早上
every evening|每天晚上
every week|每周
in summer|夏天
in winter|冬天
""",
}

FREQUENCIES = """
often|经常
always|总是
usually|通常
sometimes|有时候
never|从不
also|也
"""

# Verbs before another verb: English for I | for he | negative | question word | Chinese | not
MODALS = """
can|can|cannot|Can|能|不能
must|must|must not|Must|必须|不可以
should|should|should not|Should|应该|不应该
will|will|will not|Will|会|不会
want to|wants to|not want to|Do|想|不想
like to|likes to|not like to|Do|爱|不爱
need to|needs to|not need to|Do|需要|不需要
"""

# Where a thing is: English | Chinese after the noun | kinds of what it is in or at
POSITIONS = """
in|里|place building vehicle
on|上|furniture
under|下面|furniture nature vehicle
behind|后面|furniture building place vehicle
next to|旁边|furniture building place nature vehicle
in front of|前面|building place vehicle
"""

NUMBERS = "两 三 四 五 六 七 八 九 十 十一 十二".split()
NUMBER_WORDS = "two three four five six seven eight nine ten eleven twelve".split()

OPPOSITES = """
big small|大 小
old young|老 年轻
tall short|高 矮
happy sad|高兴 难过
expensive cheap|贵 便宜
long short|长 短
heavy light|重 轻
clean dirty|干净 脏
fast slow|快 慢
safe dangerous|安全 危险
rich poor|富有 贫穷
hot cold|热 冷
fat thin|胖 瘦
interesting boring|有趣 无聊
difficult easy|难 容易
open close|打开 关上
buy sell|买 卖
black white|黑 白
day night|白天 黑夜
left right|左 右
up down|上 下
early late|早 晚
"""

CAPITALS = """
China|Beijing|中国|北京
Japan|Tokyo|日本|东京
France|Paris|法国|巴黎
Germany|Berlin|德国|柏林
England|London|英国|伦敦
Italy|Rome|意大利|罗马
Russia|Moscow|俄罗斯|莫斯科
Spain|Madrid|西班牙|马德里
Egypt|Cairo|埃及|开罗
Thailand|Bangkok|泰国|曼谷
Canada|Ottawa|加拿大|渥太华
Australia|Canberra|澳大利亚|堪培拉
Greece|Athens|希腊|雅典
Korea|Seoul|韩国|首尔
"""


def rows(text):
    """The fields of each line of a block above."""
    return [line.split("|") for line in text.strip().splitlines()]
